"""Addresses found by their form, in whatever nobody can read."""

from __future__ import annotations

import orjson
import pytest

from consumers.webhooks.addresses import LONGEST_LOCAL, addresses_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ada@example.com.", {"ada@example.com"}),
        ("<a href='mailto:o'hara@example.com'>", {"o'hara@example.com", "hara@example.com"}),
        ("/out?to=ada@example.com&x=1", {"ada@example.com"}),
        (
            "ada@example.com,bob@example.org;carol@example.net",
            {"ada@example.com", "bob@example.org", "carol@example.net"},
        ),
        ("x" * 200_000 + "@example.com", {"x" * LONGEST_LOCAL + "@example.com"}),
        ("nobody @ nowhere, @example.com, ada@", set()),
    ],
)
def test_an_address_is_found_wherever_it_stands(text: str, expected: set[str]) -> None:
    for body in (text.encode(), orjson.dumps({"a": [text]}), orjson.dumps({text: 1})):
        assert expected <= set(addresses_in(body))
        assert expected or not addresses_in(body)


def test_a_megabyte_without_one_is_gone_through_once() -> None:
    """Not once from each of its characters: of base64 that took seconds, in which the node did nothing else. Ten times
    as much would take a hundred times as long."""
    assert addresses_in(b"A" * 30_000_000) == {}
