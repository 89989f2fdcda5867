"""Addresses in a delivery that nobody can read: found by their form, wherever they stand.

For asking whether it names somebody who was erased. An address in an unusual form, behind another encoding, or a name
without an address is not found.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from consumers.webhooks import payload
from domain.interaction import Reference
from infra.identifiers import identifiers_of

MOST = 5_000
"""Distinct ones looked at in one delivery."""
LONGEST_LOCAL = 64
_LOCAL = tuple(rf"[\w.!#$%*+^`{{|}}~{more}-]" for more in ("", "'&/=?"))
"""Without and with what may belong to an address or stand before it: quotes, and the marks of a query."""
_FORMS = tuple(re.compile(rf"(?<!{one})({one}++)@(?=([\w-][\w.-]{{1,253}}))") for one in _LOCAL)
"""Each begins where a run of such characters does, so that a megabyte of base64 is gone through once."""


def addresses_in(body: bytes) -> dict[str, str]:
    """The addresses that stand in the body, each with the identifier that it is compared by."""
    distinct = dict.fromkeys(
        f"{found[1][-LONGEST_LOCAL:]}@{found[2]}".rstrip(".")
        for text in _texts(body)
        if "@" in text
        for form in _FORMS
        for found in form.finditer(text)
    )
    usable = (text for text in islice(distinct, MOST) if payload.address(text) is not None)
    return {text: identifiers_of(Reference(email=text))[0] for text in usable}


def _texts(body: bytes) -> Iterator[str]:
    """All texts in a JSON document, names included; of anything else, the whole."""
    try:
        left: list[Any] = [orjson.loads(body)]
    except orjson.JSONDecodeError:
        left = [body.decode(errors="replace")]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
