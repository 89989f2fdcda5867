"""Whether the servers sync before they acknowledge: asked of each, at the start and ever again.

A client's own account cannot ask this; the servers' system account can. What each server answers is the setting it
runs with, whatever its configuration file says by now.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.access import Access
from infra.jetstream.connection import Connection
from infra.jetstream.replies import NO_RESPONDERS, ConnectionLost, Reply

ANSWER_S = 2.0
REPEAT_S = 60.0


class NotDurableError(OperationalError):
    """A server acknowledges before it has synced, or nobody can be asked; one sentence with the way out."""


@dataclass(frozen=True)
class Syncing:
    """What the servers with JetStream said, each by its name."""

    always: tuple[str, ...]
    """Those that acknowledge nothing before it is on disk (`sync_interval: always`)."""
    lax: tuple[str, ...]
    """Those that sync later."""
    silent: tuple[str, ...]
    """Members of the cluster that did not answer; while they are away they acknowledge nothing."""
    asked_at: datetime

    def __str__(self) -> str:
        count = f"{len(self.always)} server{'s' if len(self.always) != 1 else ''}"
        said = f"always, asserted on {count} at {self.asked_at:%Y-%m-%d %H:%M:%S} UTC"
        if self.lax:
            said = f"not always on {', '.join(self.lax)}"
        return said + (f"; no answer from {', '.join(self.silent)}" if self.silent else "")


def ask_syncing(access: Access, answer_timeout_s: float = ANSWER_S) -> Syncing:
    """Asks every server through the system account. Takes `answer_timeout_s` when one of them is away.

    Raises NotDurableError when nobody answers, OperationalError when no server can be reached.
    """
    with Connection(access, jetstream=False) as connection:
        answers = connection.call(_answers(connection, answer_timeout_s))
    held = {name: data for name, data in answers.items() if not data.get("disabled")}
    if not held:
        raise NotDurableError(
            "the servers do not say whether they sync before they acknowledge: the login for asking them is not one of "
            "their system account"
        )
    always = {name for name, data in held.items() if data["config"].get("sync_always") is True}
    return Syncing(
        always=tuple(sorted(always)),
        lax=tuple(sorted(held.keys() - always)),
        silent=tuple(sorted(_members(held) - held.keys())),
        asked_at=datetime.now(UTC),
    )


async def _answers(connection: Connection, timeout_s: float) -> dict[str, dict[str, Any]]:
    """What JSZ says, by server name; complete, or all that came in time."""
    found: dict[str, dict[str, Any]] = {}
    complete = asyncio.Event()

    def hear(reply: Reply | ConnectionLost) -> None:
        if isinstance(reply, ConnectionLost) or (reply.header or b"").startswith(NO_RESPONDERS):
            complete.set()
            return
        answer = orjson.loads(reply.body)
        if "data" in answer:
            found[answer["server"]["name"]] = answer["data"]
        if found and _members(found) <= found.keys():
            complete.set()

    token = await connection.ask_many("$SYS.REQ.SERVER.PING.JSZ", b"", hear)
    try:
        await asyncio.wait_for(complete.wait(), timeout_s)
    except TimeoutError:
        pass
    finally:
        connection.forget(token)
    return found


def _members(found: dict[str, dict[str, Any]]) -> set[str]:
    """The servers of the cluster as those that answered know them; of a single server, itself."""
    names = set(found)
    for data in found.values():
        meta = data.get("meta_cluster") or {}
        names |= {peer["name"] for peer in meta.get("replicas") or []} | (
            {meta["leader"]} if meta.get("leader") else set()
        )
    return names


class Durability:
    """Asserts that all servers sync before they acknowledge, at the start and then every `repeat_s` on a thread.

    With `required=False` it only finds out. Without `access` there is nobody to ask.
    """

    def __init__(self, access: Access | None, *, required: bool = True, repeat_s: float = REPEAT_S) -> None:
        self._access = access
        self._required = required
        self._repeat_s = repeat_s
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.syncing: Syncing | None = None
        """What was found last."""

    @property
    def failure(self) -> str | None:
        """Why appends are not to be trusted just now, in one sentence."""
        if self._required and self.syncing is not None and self.syncing.lax:
            return _refusal(self.syncing)
        return None

    def describe(self) -> str:
        """What is known, for people."""
        if self.syncing is None:
            return "unasserted: as the servers' operator says"
        return str(self.syncing)

    def start(self, report: Callable[[str], None]) -> None:
        """Asserts it now, and from now on; `report` gets what goes wrong later.

        Raises NotDurableError when a server does not sync always, or when nobody can be asked; OperationalError when
        no server can be reached with the system account's login.
        """
        if self._access is None:
            if self._required:
                raise NotDurableError(
                    "the cluster was not asked whether it syncs before it acknowledges: give a login of its system "
                    "account with RAPPORT_NATS_SYSTEM_URL, _CREDENTIALS or _NKEY, or take its operator's word for it "
                    "with RAPPORT_NATS_SYNC=unasserted"
                )
            return
        try:
            self.syncing = ask_syncing(self._access)
        except OperationalError as error:
            if self._required:
                raise
            report(str(error))
        if self.failure is not None:
            raise NotDurableError(self.failure)
        again = (self._access, report)
        self._thread = threading.Thread(target=self._repeat, args=again, name="rapport-durability", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _repeat(self, access: Access, report: Callable[[str], None]) -> None:
        while not self._ended.wait(self._repeat_s):
            try:
                self.syncing = ask_syncing(access)
            except OperationalError as error:
                report(str(error))
            else:
                if self.failure is not None:
                    report(self.failure)


def _refusal(found: Syncing) -> str:
    several = len(found.lax) > 1
    return (
        f"the server{'s' if several else ''} {', '.join(found.lax)} acknowledge{'' if several else 's'} events before "
        "they are on disk; set sync_interval: always in the jetstream block of the configuration and restart, or take "
        "the operator's word with RAPPORT_NATS_SYNC=unasserted"
    )
