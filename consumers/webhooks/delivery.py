"""What a provider's module promises: is this delivery theirs, and which interactions does it tell of.

Both are pure: the same bytes give the same answer on whichever node and however often, which is what makes a delivery
that is repeated hours later harmless. Verifying happens at the door, over the bytes as they came; reading happens
later, from the stored bytes, and again whenever a delivery is retried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

REPLAY_WINDOW = timedelta(minutes=5)
"""A signed time further from the node's clock than this is refused (Standard Webhooks, section on replays)."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request of a provider."""

    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)
    received_at: datetime
    """When the node took it; stored with it, so that reading it again gives the same."""
    path_secret: str | None = field(default=None, repr=False)
    """What stood behind the provider's name in the address."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing a delivery tells of.

    `record` is an interaction as a caller of the API would send it, with an `id` that is the same for every delivery of
    the same happening, whatever the order or the day. It is None for what is none of Rapport's events: then `kind` is
    the provider's own word for it, and `known` says whether we chose to leave it (a subscription's test, a job that was
    edited) or have never heard of it, which is kept and shown.

    What happened at a time that the provider does not tell happened when the delivery came; such a record's time is
    exactly that. `unreadable` says what of a delivery could not be read beside what could, which counts: the delivery
    then becomes a letter as well.
    """

    kind: str
    record: dict[str, Any] | None = field(default=None, repr=False)
    known: bool = True
    unreadable: str | None = None


class Refused(Exception):
    """A delivery that is not taken: `code` is `signature`, `stale` or `malformed`; the message holds nothing of it."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Unreadable(Exception):
    """A delivery that was verified and that its provider's documentation does not describe. Nothing of it is quoted."""


@runtime_checkable
class Provider(Protocol):
    """A module's one object. `name` is what stands in the address and before the `:` of every interaction id."""

    name: str

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """Returns when one of `secrets` (the newest first, several while they are rotated) proves the delivery.

        Compares in constant time. Raises Refused, or OperationalError when what it needs (a certificate) cannot be had
        just now; then the provider is asked to send it again.
        """
        ...

    def read(self, delivery: Delivery) -> list[Happening]:
        """What a verified delivery tells of, in its own order; empty for one that tells of nothing.

        Raises Unreadable.
        """
        ...


@runtime_checkable
class ProvedByToken(Protocol):
    """A provider whose signature covers a token and not the body: whoever has seen one could send any body with it."""

    def proved(self, delivery: Delivery) -> tuple[str, str]:
        """The token of a verified delivery, and the happening that it came with; the door takes it with no other."""
        ...


@runtime_checkable
class Particular(Protocol):
    """A provider whose secrets have a form: one that has not could never prove anything."""

    def unfit(self, secret: str) -> str | None:
        """What a secret of this provider is, where this can be none; None where it can."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A provider whose verification may ask others first, for a certificate say, and so take its time."""

    asks: bool


@runtime_checkable
class Answered(Protocol):
    """A provider that takes nothing but one status for a yes; the others are answered 202."""

    answer: int
