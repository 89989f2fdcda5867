"""Subscribers of the feed: who they are, and the durable consumer of each, which remembers how far it has come.

A subscriber pulls for itself, by a key of its own, or has messages posted to its address (`Webhook`). What is known of
it stands in the bucket `subscribers`, shared by every node of the ledger; how far it has come stands in its consumer on
the feed's stream and nowhere else. What signs its webhooks is sealed by the master key.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from secrets import token_bytes
from threading import Lock
from typing import Any

import orjson
from eventsourcing.persistence import IntegrityError

from domain.event import utc_now
from infra.crypto.master import MasterKey, MasterKeyError
from infra.crypto.sealing import SealBrokenError
from infra.feed import Feed
from infra.feed_access import new_seed
from infra.jetstream import ApiError, Bucket, Connection
from infra.jetstream.nkey import Nkey
from infra.jetstream.stream import Stream, state
from infra.subscriber import Progress, Secret, Subscriber, SubscriberRefused, Webhook, check, progress_of

SECRET_BYTES = 32
BESIDE = timedelta(hours=24)
"""So long the secret before still signs beside a new one."""
PULL_ACK_WAIT_S, PULL_AT_ONCE = 60.0, 1_000
POST_ACK_WAIT_S = 45.0
"""So long after a node was killed in the middle of it another delivers the message; longer than a delivery may take."""
CONSUMER_NOT_FOUND, CONSUMER_NOT_AS_SAID, CONSUMER_EXISTS, OVERLAPS = (
    10014,
    10012,
    (10013, 10105, 10148),
    (10136, 10138),
)

Admit = Callable[[Mapping[str, str]], None]
"""Lets these subscribers in, public keys by name, and no others."""


class Subscribers:
    """Those of one ledger's feed. Safe to share between threads.

    All methods raise OperationalError; those that make or open a secret KeysMissing.
    """

    def __init__(
        self, connection: Connection, feed: Feed, master: MasterKey, replicas: int = 1, admit: Admit | None = None
    ) -> None:
        """`admit` is the embedded server's; without, logins are the cluster's operator's."""
        self.feed = feed
        self.is_embedded = admit is not None
        self._connection = connection
        self._master = master
        self._admit = admit
        name = "subscribers" if feed.stream.name == "FEED" else f"subscribers_{feed.stream.name}"
        self._bucket = Bucket(connection, name, replicas=replicas)
        self._revisions = Stream(f"KV_{name}", f"$KV.{name}", replicas)
        self._lock = Lock()
        self._admitting = Lock()
        self._revision = -1
        self._known: dict[str, Subscriber] = {}

    def settle(self) -> list[str]:
        """Every subscriber has its consumer and its login, also where a process died between the two; who has not."""
        troubles = []
        for subscriber in self.all().values():
            try:
                self._connection.call(self._consume(subscriber, {}))
            except SubscriberRefused as error:
                troubles.append(str(error))
        self._let_in()
        return troubles

    def all(self) -> dict[str, Subscriber]:
        """Those there are, by name."""
        with self._lock:
            revision = int(self._connection.call(state(self._connection, self._revisions))["last_seq"])
            if revision != self._revision:
                found = self._bucket.load_all()
                self._known = {name: Subscriber.model_validate_json(text) for name, text in sorted(found.items())}
                self._revision = revision
            return dict(self._known)

    def get(self, name: str) -> Subscriber:
        """Raises SubscriberRefused when there is none."""
        found = self.all().get(name)
        if found is None:
            raise SubscriberRefused("unknown-subscriber", f"there is no subscriber {name!r}; see `subscribers list`")
        return found

    def add(
        self, name: str, types: Sequence[str] = (), after: int | None = None, webhook: Webhook | None = None
    ) -> tuple[Subscriber, str]:
        """A new subscriber, and its secret: the seed of its key (`SU…`), or what signs its webhooks (`whsec_…`).

        It begins behind the position `after`; without, with what comes from now on. Raises SubscriberRefused.
        """
        check(name, types)
        extent = self.feed.extent()
        if after is not None and after > extent.last_seq:
            raise SubscriberRefused(
                "feed-position-unknown", f"the feed ends at {extent.last_seq}; begin there or before"
            )
        start = (extent.last_seq if after is None else after) + 1
        made = Subscriber(name=name, types=tuple(types), created_at=utc_now(), start=start, feed=extent.created)
        made, secret = self._keyed(made.model_copy(update={"webhook": webhook}))
        if not self._bucket.create(name, _text(made)):
            raise SubscriberRefused(
                "subscriber-exists", f"there is a subscriber {name} already; `rotate` gives it another secret"
            )
        try:
            self._connection.call(self._consume(made, {"action": "create"}))
            self._let_in()
        except SubscriberRefused:
            self._bucket.delete(name)
            raise
        return made, secret

    def rotate(self, name: str) -> tuple[Subscriber, str]:
        """Another secret. A key before is refused at once; a webhook's secret still signs beside for `BESIDE`."""
        rotated: list[str] = []

        def renew(found: Subscriber) -> Subscriber:
            made, secret = self._keyed(found)
            rotated[:] = [secret]
            return made

        made = self.change(name, renew)
        self._let_in()
        return made, rotated[0]

    def remove(self, name: str) -> None:
        """Its login ends, its consumer goes, and with that its place. Raises SubscriberRefused."""
        self.get(name)
        try:
            self._connection.call(self._connection.api(f"CONSUMER.DELETE.{self.feed.stream.name}.{name}"))
        except ApiError as error:
            if error.code != CONSUMER_NOT_FOUND:
                raise
        self._bucket.delete(name)  # last: while it is known here, removing can be repeated
        self._let_in()

    def change(self, name: str, how: Callable[[Subscriber], Subscriber]) -> Subscriber:
        """The subscriber as it is after `how`, which may be called more than once. Raises SubscriberRefused."""
        while True:
            entry = self._bucket.get_entry(name)
            if entry is None:
                raise SubscriberRefused("unknown-subscriber", f"there is no subscriber {name!r}")
            changed = how(Subscriber.model_validate_json(entry.value))
            try:
                self._bucket.update(name, _text(changed), entry.revision)
            except IntegrityError:
                continue
            return changed

    def pause(self, name: str, reason: str) -> Subscriber:
        """Nothing is posted to it any more; at its position the message waits. Raises SubscriberRefused."""
        return self._post_by(name, {"paused": reason})

    def resume(self, name: str) -> Subscriber:
        """Goes on at its position, with attempts counted anew. Raises SubscriberRefused."""
        return self._post_by(name, {"paused": None, "anew": True})

    def count_anew(self, name: str, position: int, tried: int) -> Subscriber:
        """Of what it was handed first since `resume`, so many attempts were before. Raises SubscriberRefused."""
        return self._post_by(name, {"anew": False, "stuck_at": position, "tried": tried})

    def secrets(self, subscriber: Subscriber) -> list[bytes]:
        """The keys that its webhooks are signed by now, the newest first.

        Raises SealBrokenError, and MasterKeyError when another master key sealed one, as well.
        """
        webhook = subscriber.webhook or Webhook(url="")
        now = utc_now()
        valid = (secret for secret in webhook.secrets if secret.until is None or secret.until > now)
        return [self._open(subscriber.name, secret) for secret in valid]

    def progress(self) -> dict[str, Progress]:
        """Of every subscriber that has its consumer."""
        known = self.all()
        return {info["name"]: progress_of(info) for info in self._consumers() if info["name"] in known}

    def _post_by(self, name: str, changes: Mapping[str, Any]) -> Subscriber:
        return self.change(name, lambda found: found.model_copy(update={"webhook": _posting(found, changes)}))

    def _keyed(self, subscriber: Subscriber) -> tuple[Subscriber, str]:
        if subscriber.webhook is None:
            seed = new_seed()
            return subscriber.model_copy(update={"nkey": Nkey.read(seed).public}), seed
        key, now = token_bytes(SECRET_BYTES), utc_now()
        sealed = b64encode(self._master.wrap(key, _context(subscriber.name))).decode()
        before = [secret for secret in subscriber.webhook.secrets[:1] if self._opens(subscriber.name, secret)]
        ending = tuple(secret.model_copy(update={"until": now + BESIDE}) for secret in before)
        webhook = subscriber.webhook.model_copy(update={"secrets": (Secret(sealed=sealed), *ending)})
        return subscriber.model_copy(update={"webhook": webhook}), f"whsec_{b64encode(key).decode()}"

    def _open(self, name: str, secret: Secret) -> bytes:
        return self._master.unwrap(b64decode(secret.sealed), _context(name))

    def _opens(self, name: str, secret: Secret) -> bool:
        try:
            self._open(name, secret)
        except (MasterKeyError, SealBrokenError):
            return False
        return True

    def _let_in(self) -> None:
        if self._admit is None:
            return
        with self._admitting:  # or an older list might be the last that is told
            self._admit({name: found.nkey for name, found in self.all().items() if found.nkey is not None})

    async def _consume(self, subscriber: Subscriber, how: dict[str, str]) -> None:
        """Its consumer, made or brought up to date. On a feed that was begun anew it begins with the first message."""
        stream = self.feed.stream
        created = (await self._connection.read_api(f"STREAM.INFO.{stream.name}"))["created"]
        start = max(1, subscriber.start if created == subscriber.feed else 1)
        before = {} if how else await self._config_of(subscriber.name)
        config = {
            "durable_name": subscriber.name,
            "name": subscriber.name,
            "ack_policy": "explicit",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": before.get("opt_start_seq", start),  # a restored feed is as of today; its consumers know
            "max_deliver": -1,
            "replay_policy": "instant",
        }
        config |= _pulled() if subscriber.webhook is None else _posted()
        if subscriber.types:
            config["filter_subjects"] = [f"{stream.prefix}.{type_}" for type_ in subscriber.types]
        request = {"stream_name": stream.name, "config": config, **how}
        try:
            await self._connection.read_api(f"CONSUMER.CREATE.{stream.name}.{subscriber.name}", request)
        except ApiError as error:
            if error.code in OVERLAPS:
                raise SubscriberRefused("invalid-subscriber", "one of the types is contained in another") from error
            if error.code == CONSUMER_NOT_AS_SAID:
                raise SubscriberRefused("subscriber-exists", f"the consumer {subscriber.name}: {error}") from error
            if error.code not in CONSUMER_EXISTS:
                raise
            raise SubscriberRefused(
                "subscriber-exists",
                f"the feed has a consumer {subscriber.name} that is none of a subscriber's; choose another name",
            ) from error

    async def _config_of(self, name: str) -> dict[str, Any]:
        """Of its consumer as it is; empty when it has none."""
        try:
            info = await self._connection.read_api(f"CONSUMER.INFO.{self.feed.stream.name}.{name}")
        except ApiError as error:
            if error.code != CONSUMER_NOT_FOUND:
                raise
            return {}
        config: dict[str, Any] = info["config"]
        return config

    def _consumers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            request = {"offset": len(found)}
            page = self._connection.call(self._connection.read_api(f"CONSUMER.LIST.{self.feed.stream.name}", request))
            found += page["consumers"] or []
            if not page["consumers"] or len(found) >= page["total"]:
                return found


def _pulled() -> dict[str, Any]:
    return {"ack_wait": int(PULL_ACK_WAIT_S * 1e9), "max_ack_pending": PULL_AT_ONCE}


def _posted() -> dict[str, Any]:
    """One message at a time, whichever node has it: that is what keeps them in order."""
    return {"ack_wait": int(POST_ACK_WAIT_S * 1e9), "max_ack_pending": 1}


def _posting(subscriber: Subscriber, changes: Mapping[str, Any]) -> Webhook:
    if subscriber.webhook is None:
        raise SubscriberRefused(
            "not-a-webhook", f"{subscriber.name} pulls for itself, and stops and goes on by itself as well"
        )
    return subscriber.webhook.model_copy(update=dict(changes))


def _text(subscriber: Subscriber) -> bytes:
    return orjson.dumps(subscriber.model_dump(mode="json", exclude_none=True))


def _context(name: str) -> bytes:
    return b"rapport subscriber|" + name.encode()
