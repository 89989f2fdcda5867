"""Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md), from any sender.

`webhook-signature` holds signatures of `id.timestamp.body`, space-delimited: `v1` is HMAC-SHA256 under a secret
`whsec_…`, `v1a` Ed25519 under a public key `whpk_…`, each in base64. The time is that of the attempt and signed anew at
each; `webhook-id` stays the same, and is signed, which makes it the id of what happened.

`data` is an interaction as `POST /v1/interactions` takes it; `timestamp` is its `occurred_at` unless it has its own.
Any other `data` is kept and shown. No sender speaks for a user of ours: in place of such an `actor` stands the sender.
Nor does one do what officers do, whoever it says did it.
"""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consumers.webhooks import payload
from consumers.webhooks.delivery import REPLAY_WINDOW, Delivery, Happening, Refused, Unreadable
from domain.candidate import BY_OFFICERS
from domain.consent import TAKEN_BACK
from domain.policy import ActorKind

MAX_SIGNATURES = 8
"""Looked at in one header; a sender that rotates its secret sends two."""

_SECONDS = re.compile(r"[0-9]{1,11}")


def check(delivery: Delivery, secrets: Sequence[str], now: datetime, prefix: str) -> None:
    """Returns when the headers `<prefix>-id`, `-timestamp` and `-signature` prove the delivery. Raises Refused."""
    id_, seconds, signatures = (delivery.headers.get(f"{prefix}-{n}", "") for n in ("id", "timestamp", "signature"))
    if not (id_ and seconds and signatures):
        raise Refused("signature", f"the headers {prefix}-id, {prefix}-timestamp and {prefix}-signature are needed")
    if not _SECONDS.fullmatch(seconds):
        raise Refused("malformed", f"{prefix}-timestamp should be seconds since 1970")
    content = f"{id_}.{seconds}.".encode(errors="replace") + delivery.body
    if not _proves(content, signatures.split()[:MAX_SIGNATURES], secrets):
        raise Refused("signature", "no signature is by a secret of this provider")
    if abs(now.timestamp() - int(seconds)) > REPLAY_WINDOW.total_seconds():
        raise Refused("stale", f"signed more than {REPLAY_WINDOW.seconds // 60} minutes from now; send it again")


def _proves(content: bytes, signatures: Sequence[str], secrets: Sequence[str]) -> bool:
    given = [(version, value.encode(errors="replace")) for version, _, value in (s.partition(",") for s in signatures)]
    for scheme, key in map(_key, secrets):
        values = [value for version, value in given if version == scheme]
        if key and values and (_is_mac if scheme == "v1" else _is_signature)(key, content, values):
            return True
    return False


def _is_mac(key: bytes, content: bytes, values: Sequence[bytes]) -> bool:
    """Whether one of the values is the HMAC, which is computed once, however many there are."""
    right = b64encode(hmac.digest(key, content, "sha256"))
    return any(hmac.compare_digest(right, value) for value in values)


def _is_signature(key: bytes, content: bytes, values: Sequence[bytes]) -> bool:
    """Whether one of the values is a signature by the public key; one that is written wrongly is none."""
    for value in values:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(b64decode(value, validate=True), content)
        except (InvalidSignature, ValueError):  # binascii.Error is one
            continue
        return True
    return False


def _key(secret: str) -> tuple[str, bytes]:
    """The scheme that a secret as it is handed out belongs to, and its bytes; none where it is not base64."""
    scheme, text = ("v1a", secret[5:]) if secret.startswith("whpk_") else ("v1", secret.removeprefix("whsec_"))
    try:
        return scheme, b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:  # binascii.Error is one
        return scheme, b""


def unfit(secret: str) -> str | None:
    """See `consumers.webhooks.delivery.Particular`."""
    if _key(secret)[1]:
        return None
    return "it is base64, behind whsec_ (or a public key behind whpk_), as the sender shows it"


class Standard:
    """A sender that keeps to Standard Webhooks; its name stands before the ids that it gives."""

    def __init__(self, name: str = "standard") -> None:
        self.name = name

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> None:
        """See `consumers.webhooks.delivery.Provider`."""
        check(delivery, secrets, now, "webhook")

    def unfit(self, secret: str) -> str | None:
        """See `consumers.webhooks.delivery.Particular`."""
        return unfit(secret)

    def read(self, delivery: Delivery) -> list[Happening]:
        """One interaction, or something that is kept. An act of officers is Unreadable.

        See `consumers.webhooks.delivery.Provider`.
        """
        body = payload.document(delivery.body)
        kind, data = payload.word(body, "type"), body.get("data")
        if not (isinstance(data, dict) and "type" in data and "candidate" in data):
            return [Happening(kind, known=False)]
        if str(data["type"]) in BY_OFFICERS:
            raise Unreadable(
                f"data.type: no sender may report {data['type']}; an officer records it at /v1/interactions"
            )
        told = {"source": self.name, "actor": f"system:{self.name}", **data}
        if str(told["actor"]).partition(":")[0] == ActorKind.USER:
            told["actor"] = f"system:{self.name}"
        if "occurred_at" not in data and (body.get("timestamp") is not None or str(data["type"]) in TAKEN_BACK):
            time = payload.instant_of(str(data["type"]), body.get("timestamp"), delivery.received_at)
            told["occurred_at"] = time.isoformat()
        own = data.get("id")
        if own is None or isinstance(own, str):  # anything else is refused like any caller's
            # A sender's own interaction id outlives its messages: two of them may tell of one interaction.
            told["id"] = payload.id_of(self.name, *(("id", own) if own else (payload.header(delivery, "webhook-id"),)))
        return [Happening(kind, told)]


PROVIDER = Standard()
