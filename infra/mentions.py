"""Whether something that somebody else wrote names a person, however an identifier of theirs is written there."""

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from html import unescape
from typing import Any
from urllib.parse import unquote

import orjson

DEPTH = 3
"""So many encodings may lie around each other."""
_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}(?:\r?\n[A-Za-z0-9+/_-]+)*")
_TEXT = re.compile(rb"(?:[\t\n\r\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]{1,3}){6,}")
_NUMBER = re.compile(r"\d(?:[\s().+/\u00a0-]{0,3}\d){6,}")
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
NATIONAL = 9
"""A number of so many digits is somebody's without its country code."""


def names(body: bytes, system: str, identifiers: Iterable[str]) -> bool:
    """Whether one of these, such as `email:ada@example.com`, stands in what was sent by `system`.

    Addresses, links and numbers are found in any case, escaped as in JSON, HTML or URLs, in Base64, and in each of them
    within another; numbers with any separators. Addresses also within longer ones: rather one too many. The key of a
    record is found as a whole value of JSON, and only where its own system sent it.
    """
    sought = [(kind, text) for kind, _, text in (i.partition(":") for i in identifiers) if text]
    keys = {key for kind, text in sought if kind == "ref" for own, _, key in [text.partition(":")] if own == system}
    tests = [_test(kind, text) for kind, text in sought if kind != "ref"]
    if keys and not keys.isdisjoint(_values(body)):
        return True
    return any(test(form) for form in _forms(body) for test in tests) if tests else False


def _test(kind: str, text: str) -> Callable[[str], bool]:
    match kind:
        case "phone":
            return lambda form: _has_number(form, re.sub(r"\D", "", text))
        case "profile":
            either = "|".join(re.escape(t) for t in {text.lower(), unquote(text).lower()})
            link = re.compile(rf"(?<![\w-])(?:{either})(?![\w%~-]|\.\w)")
            return lambda form: link.search(form) is not None
        case _:
            return lambda form: text.lower() in form


def _has_number(form: str, digits: str) -> bool:
    for run in _NUMBER.findall(form):
        found = re.sub(r"\D", "", run.replace("(0)", ""))
        national = found.lstrip("0")
        if digits in found or (len(national) >= NATIONAL and digits.endswith(national)):
            return True
    return False


def _forms(body: bytes) -> Iterator[str]:
    """The text as it is and as it may be meant, in lower case."""
    left, seen = [body.decode(errors="replace")], set[str]()
    for _ in range(DEPTH + 1):
        found = [text for text in dict.fromkeys(left) if text not in seen]
        yield from (text.lower() for text in found)
        seen.update(found)
        left = [read(text) for text in found for read in (_unescaped, unquote, unescape, _unpacked)]


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    escape = found[0]
    if escape.startswith("\\u") and len(escape) > 2:
        units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in escape.split("\\u")[1:])
        return units.decode("utf-16-be", errors="replace")
    return _CONTROLS.get(escape[1], escape[1])


def _unpacked(text: str) -> str:
    """The text that lies in Base64 here, from any of four places on: a `/` before it looks like a part of it."""
    found = []
    for run in _BASE64.findall(text):
        packed = re.sub(r"\s", "", run).replace("-", "+").replace("_", "/")
        for start in range(4):
            part = packed[start:]
            whole = part[: len(part) - (len(part) % 4 == 1)]
            found += _TEXT.findall(b64decode(whole + "=" * (-len(whole) % 4)))
    return b"\n".join(found).decode(errors="replace")


def _values(body: bytes) -> set[str]:
    """Every string and number in a document of JSON; none in what is no such document."""
    found = set()
    try:
        left: list[Any] = [orjson.loads(body)]
    except ValueError:
        return set()
    while left:
        match left.pop():
            case dict() as fields:
                left.extend(fields.values())
            case list() as items:
                left.extend(items)
            case str() | int() | float() as value:
                found.add(str(value))
    return found
