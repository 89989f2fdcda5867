"""Who is named is found in whatever form; who is not, is not."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mentions import DEPTH, names

ADA, PHONE, LINK = "email:ada+cv@example.com", "phone:+442079460000", "profile:linkedin.com/in/ada"
WRITTEN = {ADA: "Ada+CV@example.com", PHONE: "+44 (0)20 7946-0000", LINK: "https://www.LinkedIn.com/in/ada/"}
ENCODINGS = {
    "json": json.dumps,
    "json of PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "json in ASCII": lambda text: '"' + "".join(f"\\u{ord(c):04X}" for c in text) + '"',
    "percent": lambda text: quote(text, safe=""),
    "html": lambda text: escape(text).replace("@", "&#64;"),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: f"/open/{urlsafe_b64encode(text.encode()).decode().rstrip('=')}",
}


@given(st.sampled_from(sorted(WRITTEN)), st.lists(st.sampled_from(sorted(ENCODINGS)), max_size=DEPTH), st.text())
def test_it_is_found_in_any_encoding_of_any_encoding(identifier: str, encodings: list[str], before: str) -> None:
    text = f"{before.encode(errors='replace').decode()} <{WRITTEN[identifier]}> and more"
    for encoding in encodings:
        text = ENCODINGS[encoding](text)
    assert names(f'{{"a": "{text}"}}'.encode(), "sendgrid", [identifier])


@pytest.mark.parametrize("written", ["0044 20 7946 0000", "020 79460000", "%2B44+20+7946+0000", "442079460000"])
def test_a_number_is_its_digits(written: str) -> None:
    assert names(f"phone={written}&x=1".encode(), "mailgun", [PHONE])


@pytest.mark.parametrize(
    ("identifier", "text"),
    [
        (PHONE, "+44 20 7946 0001 and 7946 0000, at 20:07"),
        (LINK, "https://linkedin.com/in/ada-b, linkedin.com/in/adam, xlinkedin.com/in/ada"),
        (ADA, "cv@example.com ada@example.com"),
        ("email:", "anything"),
    ],
)
def test_others_are_not_named(identifier: str, text: str) -> None:
    assert not names(text.encode(), "sendgrid", [identifier])


@pytest.mark.parametrize(
    ("body", "system", "is_named"),
    [
        (b'{"payload": {"application": {"candidate": {"id": 123}}}}', "greenhouse", True),
        (b'{"ids": ["7", "123"]}', "greenhouse", True),
        (b'{"id": 123}', "lever", False),
        (b'{"id": 1234, "note": "about 123", "123": true}', "greenhouse", False),
        (b"id=123", "greenhouse", False),
        (b"[" * 100_000, "greenhouse", False),
    ],
)
def test_the_key_of_a_record_is_a_whole_value_of_its_own_system(body: bytes, system: str, is_named: bool) -> None:
    assert names(body, system, ["ref:greenhouse:123"]) is is_named
