"""Ledger messages as the rows that the projector takes: parsed, opened with their keys, read as the newest version."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from domain.candidate import Erased
from domain.upcasters import UnknownEventError
from infra import codec
from infra.crypto.keyring import Keyring
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import RawMessage
from infra.jetstream.message import is_version
from infra.purged import PurgedMessage
from projections.mirror import BATCH_SCHEMA

_TIME = BATCH_SCHEMA.field("occurred_at").type

Content = tuple[int, str, int | None, str | None, str | None, str | None, str | None]
"""version, type, v, occurred_at (ISO 8601), public, personal, problem; as in `BATCH_SCHEMA`."""


def table_of(messages: Sequence[RawMessage], keyring: Keyring) -> pa.Table:
    """The messages as the projector takes them: fields as the newest version of each type has them, `v` and `body` as
    stored. What cannot be used carries its `problem` and stays in; of what was purged there is what is left of it.
    """
    places: dict[str, list[int]] = {}
    for number, message in enumerate(messages):
        places.setdefault(message.subject, []).append(number)
    names = {subject: _name(subject) for subject in places}
    keys = keyring.existing(names.values())
    contents: list[Content] = [_BROKEN] * len(messages)
    for subject, numbers in places.items():  # one aggregate after the other: its cipher is set up once
        name = names[subject]
        key = keys.get(name)
        for number in numbers:
            message = messages[number]
            if isinstance(message, PurgedMessage):
                contents[number] = (message.left.version, message.left.type, None, None, None, None, None)
                continue
            contents[number] = _content(name, message.body, key)
            if contents[number][6] is not None and contents[number][1] == Erased.type and key is not None:
                # Behind the first of them the key is gone, and what comes then is sealed with none that anybody has.
                keyring.forget(name)
                key = keyring.existing([name]).get(name)
                contents[number] = _content(name, message.body, key)
                if contents[number][6] is not None:  # a damaged key: that this person is erased needs none to be known
                    contents[number] = _content(name, message.body, None)
    _note_lost(
        messages, contents, {names[s]: numbers for s, numbers in places.items() if names[s] not in keys}, keyring
    )
    kinds_and_ids = {subject: codec.split_id(name) for subject, name in names.items()}
    aggregates = [kinds_and_ids[message.subject] for message in messages]
    versions, types, vs, occurred, public, personal, problems = zip(*contents, strict=True) if contents else [()] * 7
    columns: dict[str, Any] = {
        "seq": [message.seq for message in messages],
        "recorded_at": pa.array([message.time_ns // 1000 for message in messages], pa.int64()).cast(_TIME),
        "kind": [kind for kind, _ in aggregates],
        "id": [id_ for _, id_ in aggregates],
        "version": versions,
        "type": types,
        "v": vs,
        "occurred_at": _moments(occurred),
        "public": public,
        "personal": personal,
        "body": [None if isinstance(message, PurgedMessage) else message.body for message in messages],
        "problem": problems,
        "hash": [message.left.hash if isinstance(message, PurgedMessage) else None for message in messages],
    }
    return pa.table(columns, schema=BATCH_SCHEMA)


def _note_lost(
    messages: Sequence[RawMessage], contents: list[Content], keyless: Mapping[str, list[int]], keyring: Keyring
) -> None:
    """What could not be opened because its key was lost, and not destroyed, is no event of somebody erased."""
    closed = {
        name: shut
        for name, numbers in keyless.items()
        if (shut := [n for n in numbers if not isinstance(messages[n], PurgedMessage) and _is_closed(contents[n])])
    }
    for name, key in keyring.lost(closed).items():
        for number in closed[name]:
            contents[number] = _content(name, messages[number].body, key)


def _is_closed(content: Content) -> bool:
    """Whether it needs a key to be read. The event that ends a record says all in the clear."""
    return content[6] is None and content[5] is None and content[1] != Erased.type


def _name(subject: str) -> str:
    """The aggregate under whose subject a message stands, whatever the message says."""
    kind, _, id_ = ["", "", *subject.split(".")][-3:]
    return codec.aggregate_id(kind, id_)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


_BROKEN: Content = (0, "", 0, None, "{}", None, None)


def _content(name: str, body: bytes, key: bytes | None) -> Content:
    document = _document(body)
    version, type_ = document.get("version", 0), document.get("type", "")
    if not is_version(version) or not isinstance(type_, str):
        version, type_, document = 0, "", {}
    v = 0
    try:
        if document.get("id") != name:
            raise UnknownEventError("it is not an event of the aggregate under whose subject it stands")
        opened = codec.open_newest(name, version, type_, document.get("state", {}), key)
        v = opened.v
        occurred_at = opened.clear.pop("occurred_at")
        datetime.fromisoformat(occurred_at)
        public = orjson.dumps(opened.clear).decode()
        personal = orjson.dumps(opened.personal).decode() if opened.personal is not None else None
    except (UnknownEventError, SealBrokenError, KeyError, TypeError, ValueError) as error:
        return version, type_, v, None, "{}", None, f"{type(error).__name__}: {error}"
    return version, type_, v, occurred_at, public, personal, None


def _moments(texts: Sequence[str | None]) -> pa.Array:
    """Times that `datetime.fromisoformat` takes; one without a zone is in UTC."""
    try:
        return pa.array(texts, pa.string()).cast(_TIME)
    except pa.ArrowInvalid:  # Arrow reads fewer forms of ISO 8601, among them the one that Rapport writes
        return pa.array([None if text is None else datetime.fromisoformat(text) for text in texts], _TIME)
