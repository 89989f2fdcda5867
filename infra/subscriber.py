"""A subscriber of the feed: what is known of one, and what one may be called and ask for."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from domain.event import UtcDatetime
from domain.published_schemas import schemas

NAME = r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
MOST_TYPES = 50

_TYPE = re.compile(r"([a-z_]+|\*)(\.([a-z_]+|\*))*(\.>)?|>")


class SubscriberRefused(Exception):
    """What is asked for cannot be done; one sentence with the way out. `code` is stable."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


class Secret(BaseModel):
    """What signs webhooks, sealed; `until` says when it ends."""

    model_config = ConfigDict(frozen=True)

    sealed: str
    until: UtcDatetime | None = None


class Webhook(BaseModel):
    """Where messages are posted. `paused` says why none are."""

    model_config = ConfigDict(frozen=True)

    url: str
    allow_private: bool = False
    secrets: tuple[Secret, ...] = ()
    paused: str | None = None
    anew: bool = False
    """It was resumed, and has been handed nothing since: attempts of what comes first count from then on."""
    stuck_at: int = 0
    """The position of that message, and how often it had been tried before."""
    tried: int = 0


class Subscriber(BaseModel):
    """What is known of one. `start` is its first position on the feed that was created at `feed`."""

    model_config = ConfigDict(frozen=True)

    name: str
    types: tuple[str, ...] = ()
    created_at: UtcDatetime
    start: int
    feed: str
    nkey: str | None = None
    webhook: Webhook | None = None


class Progress(NamedTuple):
    """How far one has come. `lag` counts messages that it has not acknowledged; `seen_at` is its last sign of life."""

    acknowledged: int
    lag: int
    unacknowledged: int
    seen_at: str | None
    pulling: bool


def check(name: str, types: Sequence[str]) -> None:
    """Whether a subscriber may be called that and ask for these types. Raises SubscriberRefused."""
    if not re.fullmatch(NAME, name):
        raise SubscriberRefused(
            "invalid-subscriber", "a name has 1 to 40 small letters, digits and hyphens, none of these at an end"
        )
    if len(types) > MOST_TYPES:
        raise SubscriberRefused("invalid-subscriber", f"there may be {MOST_TYPES} types; `candidate.*` is one")
    for type_ in types:
        if not _TYPE.fullmatch(type_) or not any(is_of(type_, known) for known in schemas()):
            raise SubscriberRefused(
                "invalid-subscriber",
                f"nothing published is of type {type_[:60]!r}; write `pool.joined` or `candidate.*`, say",
            )


def is_of(pattern: str, type_: str) -> bool:
    """Whether a published type is one that the pattern, of NATS's kind, stands for."""
    wanted, has = pattern.split("."), type_.split(".")
    if wanted[-1] == ">":
        return len(has) >= len(wanted) and all(w in ("*", h) for w, h in zip(wanted[:-1], has, strict=False))
    return len(has) == len(wanted) and all(w in ("*", h) for w, h in zip(wanted, has, strict=True))


def progress_of(info: Mapping[str, Any]) -> Progress:
    """From what JetStream says of its consumer."""
    signs = [info[which].get("last_active") for which in ("delivered", "ack_floor")]
    seen = [datetime.fromisoformat(sign) for sign in signs if sign]
    return Progress(
        acknowledged=info["ack_floor"]["stream_seq"],
        lag=info["num_pending"] + info["num_ack_pending"],
        unacknowledged=info["num_ack_pending"],
        seen_at=max(seen).isoformat() if seen else None,
        pulling=info["num_waiting"] > 0,
    )
