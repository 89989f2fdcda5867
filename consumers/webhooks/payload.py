"""A provider's payload: proved by its HMAC, read as JSON, and each field brought into the form that Rapport takes.

What a provider lets people type (a job's name, a tag, an address) is never a reason to lose a delivery: a field that
has no such form is left out, or the provider's own id stands for it. What a provider's documentation promises and is
not there is one: Unreadable.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from consumers.webhooks.delivery import Delivery, Happening, Unreadable
from domain.consent import TAKEN_BACK
from domain.errors import InvalidInteraction
from domain.event import Label
from domain.interaction import Reference
from infra.identifiers import identifiers_of

_LABEL: TypeAdapter[str] = TypeAdapter(Label)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_IN_BRACKETS = re.compile(r"<([^<>]+)>\s*$")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(r"[^\s:]{1,200}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def proves(message: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Whether `signature` is the hexadecimal HMAC-SHA256 of `message` under one of `secrets`; in constant time.

    An empty secret proves nothing: everybody knows it.
    """
    given = signature.encode(errors="replace")
    digests = [hmac.digest(s.encode(), message, "sha256").hex().encode() for s in secrets if s]
    return any(hmac.compare_digest(digest, given) for digest in digests)


def document(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` is. Raises Unreadable."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Unreadable("the body is not JSON") from None
    return member({"body": found}, "body")


def member(parent: dict[str, Any], name: str) -> dict[str, Any]:
    """The object that must lie at `name`. Raises Unreadable."""
    found = parent.get(name)
    if not isinstance(found, dict):
        raise Unreadable(f"{name}: should be a JSON object")
    return found


def header(delivery: Delivery, name: str) -> str:
    """The header that a verified delivery had. Raises Unreadable."""
    if value := delivery.headers.get(name):
        return value
    raise Unreadable(f"{name}: the header is missing")


def at(value: Any, *path: str | int) -> Any:
    """What lies at `path`; None as soon as something on the way is not there."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def key(parent: dict[str, Any], name: str) -> str:
    """The provider's own id of something, at `name`. Raises Unreadable."""
    value = parent.get(name)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not _KEY.fullmatch(text):
        raise Unreadable(f"{name}: should be an id")
    return text


def instant(value: Any, otherwise: datetime | None = None) -> datetime:
    """An ISO 8601 time with its zone, or a number of milliseconds since 1970, in UTC; `otherwise` for no value.

    Raises Unreadable for anything else, and for no value where nothing stands for it.
    """
    if value is None and otherwise is not None:
        return otherwise.astimezone(UTC)
    try:
        if isinstance(value, str) and (time := datetime.fromisoformat(value)).tzinfo is not None:
            return time.astimezone(UTC)
        if isinstance(value, int) and not isinstance(value, bool):
            return _EPOCH + timedelta(milliseconds=value)
    except (ValueError, OverflowError):
        pass
    raise Unreadable("a time should be ISO 8601 with a zone, or milliseconds since 1970")


def seconds(value: Any) -> datetime | None:
    """A number of seconds since 1970, or such a number as text, in UTC; None for anything else."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        return None
    return datetime.fromtimestamp(number, UTC) if 0 <= number < 2**33 else None


def instant_of(type_: str, value: Any, came: datetime) -> datetime:
    """As `instant`; for what is said against contact it is when the delivery came, if there is no time to be read."""
    try:
        return instant(value)
    except Unreadable:
        if type_ in TAKEN_BACK:
            return came.astimezone(UTC)
        raise


def readable(kind: str, read: Callable[[], list[Happening]], beside: Sequence[Happening]) -> list[Happening]:
    """What `read` finds; a note in its place where it cannot be read and something else, `beside` it, can.

    Raises Unreadable.
    """
    try:
        return read()
    except Unreadable as error:
        if not beside:
            raise
        return [Happening(kind, unreadable=str(error))]


def line(value: Any, limit_chars: int = 300) -> str | None:
    """`value` as one line of text, cut at the limit; None when it is none or blank."""
    text = " ".join(_CONTROL.sub(" ", value).split())[:limit_chars].strip() if isinstance(value, str) else ""
    return text or None


def label(value: Any, otherwise: str | None = None) -> str | None:
    """`value` as a name that may stand in the clear; `otherwise` where it holds an address, or is none."""
    try:
        return _LABEL.validate_python(line(value, 100))
    except ValidationError:
        return otherwise


def named(thing: Any, field: str) -> str | None:
    """What a job or a stage is called, in `field`; its `id` where that may not stand in the clear; None for nothing."""
    return label(at(thing, field)) or label(str(at(thing, "id") or ""))


def word(parent: dict[str, Any], name: str) -> str:
    """The provider's own word for what happened, at `name`, as it may be listed. Raises Unreadable."""
    value = parent.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"{name}: should say what happened")
    return label(value) or "unnamed"


def address(value: Any) -> str | None:
    """The address in `value`, which may be `Name <address>`; None when it is not one that Rapport can compare."""
    if not isinstance(value, str):
        return None
    found = _IN_BRACKETS.search(value)
    text = (found[1] if found else value).strip()
    try:
        identifiers_of(Reference(email=text))
    except (ValidationError, InvalidInteraction):
        return None
    return text


def person(system: str, id_: str, *emails: Any) -> dict[str, str]:
    """The reference to somebody by a system's id, and by the first of `emails` that is an address."""
    usable = next((a for a in map(address, emails) if a is not None), None)
    return {"ref": f"{system}:{id_}"} | ({"email": usable} if usable else {})


def people(system: str, id_: str | None, *emails: Any) -> list[dict[str, str]]:
    """A reference for each of `emails` that is an address, with the system's id where there is one: whoever is known by
    any of them is found. Raises Unreadable where there is neither."""
    ref = {} if id_ is None else {"ref": f"{system}:{id_}"}
    found = [ref | {"email": email} for email in dict.fromkeys(map(address, emails)) if email is not None]
    if not found and not ref:
        raise Unreadable("neither an id nor an address says who it is")
    return found or [ref]


def id_of(provider: str, *parts: str | None) -> str:
    """An interaction id that only the same parts have; in plain words where they are short and plain."""
    if all(part is not None and _PLAIN.fullmatch(part) for part in parts) and len(parts) <= 4:
        return ":".join([provider, *map(str, parts)])
    return f"{provider}:~{hashlib.sha256(orjson.dumps(parts)).hexdigest()}"


def told(
    provider: str,
    kind: str,
    type_: str,
    candidate: dict[str, str],
    occurred_at: datetime,
    id_: Sequence[str | None],
    /,
    *,
    channel: str | None = None,
    **data: Any,
) -> Happening:
    """What `provider` calls `kind`, as an interaction of `type_` told by it; fields without a value are left out."""
    record: dict[str, Any] = {
        "id": id_of(provider, *id_),
        "type": type_,
        "candidate": candidate,
        "occurred_at": occurred_at.isoformat(),
        "source": provider,
        "actor": f"system:{provider}",
        "data": {name: value for name, value in data.items() if value is not None},
    }
    return Happening(kind, record | ({"channel": channel} if channel else {}))
