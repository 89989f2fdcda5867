"""HTML from values: whatever is not marked up already is escaped. Pure."""

import re
from collections.abc import Iterable
from html import escape

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that HTML does not allow."""

VOID = frozenset({"meta", "br", "hr"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | int | float | bool | None | Iterable["Content"]


def text(value: Content) -> Html:
    """The value as HTML shows it; of several, one after the other. None shows nothing."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html()
    if isinstance(value, str):
        return Html(escape(_FORBIDDEN.sub("\ufffd", value)))
    if isinstance(value, int | float):
        return Html(value)
    return Html("".join(map(text, value)))


def tag(element: str, /, *content: Content, **attributes: str) -> Html:
    """An element. Of an attribute's name a last underscore is left out: `class_`."""
    named = "".join(f' {key.removesuffix("_")}="{text(value)}"' for key, value in attributes.items())
    return Html(f"<{element}{named}>" + ("" if element in VOID else f"{text(content)}</{element}>"))


def said(value: Content) -> Html:
    """What somebody wrote, in whatever direction its script runs; it must not turn what stands around it."""
    return tag("bdi", value)
