"""Candidate references as people type them, in a path or on a command line."""

import re
from typing import TYPE_CHECKING

from pydantic import ValidationError

from domain.errors import InvalidInteraction

if TYPE_CHECKING:  # the command line wants `LETTER`, and to start at once
    from domain.interaction import Reference

_HEX_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LINK = re.compile(r"https?://|[^/:\s]+\.[^/:\s]+/")
LETTER = re.compile(r"[iu][1-9]\d{0,17}")
"""A webhook that was kept: `i12` one that could not be recorded, `u12` one of an unknown kind."""
_PREFIXED = re.compile(r"(id|email|phone|profile|ref)[:=](.+)", re.DOTALL)


def reference_of(text: str) -> "Reference":
    """The reference in `text`: an id of 32 digits, with dashes, as SQL writes it, or without; an email, a phone number
    with +, a profile link, or `system:key`.

    A prefix `email:`, `phone:`, `profile:` or `ref:` settles it. Raises InvalidInteraction.
    """
    from domain.interaction import Reference  # noqa: PLC0415 - see above

    text = text.strip()
    kind, value = _kind(text)
    try:
        return Reference.model_validate({kind: value})
    except ValidationError:
        raise InvalidInteraction(
            "candidate reference: write a 32-digit id, an email address, a phone number with its country code, "
            "a profile link, or system:key as in greenhouse:123"
        ) from None


def _kind(text: str) -> tuple[str, str]:
    if prefixed := _PREFIXED.fullmatch(text):
        return prefixed[1], prefixed[2]
    if _HEX_ID.fullmatch(text):
        return "id", text.replace("-", "")
    if "@" in text:
        return "email", text
    if text.startswith("+"):
        return "phone", text
    if _LINK.match(text):
        return "profile", text
    return "ref", text
