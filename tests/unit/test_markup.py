"""HTML from values: whatever anybody wrote is text, and comes back as it went in."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import orjson
from hypothesis import given
from hypothesis import strategies as st

from api.disclosure.markup import Html, said, tag, text
from api.disclosure.values import plain

ALLOWED = st.characters(exclude_categories=["Cs"])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.timezones() | st.none())
    | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


class Read(HTMLParser):
    """Elements, attribute values and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.values: list[str | None] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.values += [value for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(ALLOWED))
def test_any_text_is_one_text_in_an_element_and_in_an_attribute(written: str) -> None:
    """But for characters that HTML does not have, which show as U+FFFD."""
    read = Read(tag("p", written, title=written))
    assert read.elements == ["p"]
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", written)
    assert read.text == shown
    assert read.values == [shown]


def test_a_lone_surrogate_does_not_stop_the_page() -> None:
    assert said("a\ud800b").encode() == "<bdi>a\ufffdb</bdi>".encode()


def test_what_is_marked_up_stays_so_and_nothing_is_escaped_twice() -> None:
    assert text([Html("<b>"), "<b>", None, 3]) == "<b>&lt;b&gt;3"
    assert tag("div", tag("br"), "&", class_="x") == '<div class="x"><br>&amp;</div>'


@given(anything)
def test_any_value_of_duckdb_is_json(value: object) -> None:
    """And reads back as what it was made of, JSON's own values unchanged."""
    made = plain(value)
    assert orjson.loads(orjson.dumps(made)) == made
    assert plain(made) == made
