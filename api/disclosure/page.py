"""`index.html`: everything in one page that a person can read and print. No script, and nothing from any other host."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from api.disclosure.document import Person
from api.disclosure.events import Opened
from api.disclosure.markup import Content, Html, said, tag, text
from domain import candidate
from domain.event import Event

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; overflow-wrap: anywhere }
h1 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb } h3 { margin-bottom: .25rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: start; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd }
th { font-weight: 600 } thead { display: table-header-group } tr { break-inside: avoid }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .1rem 1rem; margin: .5rem 0 }
dt { color: #555 } dd { margin: 0; white-space: pre-wrap }
.row { border: 1px solid #ddd; border-radius: .25rem; padding: .25rem .75rem; margin: .5rem 0; font-size: .9rem }
.note { background: #fff4d6; border-inline-start: .3rem solid #b58100; padding: .5rem 1rem }
.quiet { color: #555 }
nav ul { columns: 2; padding-inline-start: 1.2rem }
@media print { body { max-width: none; margin: 0; font-size: 10pt } nav { display: none } a { color: inherit } }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } nav ul { columns: 1 } }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Fields = Mapping[str, Any]


def page(person: Person, events: Iterable[Opened]) -> str:
    """The page, as UTF-8 text."""
    sections = [
        ("profile", "What we know of you", [_fields(person.profile or {})]),
        ("purposes", "What your data is used for, and on which basis", _uses(person)),
        ("categories", "Which kinds of data we hold", _categories(person)),
        ("sources", "Where your data comes from", _sources(person)),
        ("recipients", "Who has received it", _recipients(person)),
        ("retention", "How long it is kept", _retention(person)),
        ("scores", "Scores, and how they are made", _scores(person)),
        ("pools", "Pools you are or were in", _pools(person)),
        ("requests", "What you have asked for", _each(person.requests)),
        ("rights", "Your rights", _rights(person)),
        ("events", "Everything that happened", _events(person, events)),
        ("derived", "What was derived from it", _derived(person)),
    ]
    contents = tag("nav", tag("ul", (tag("li", tag("a", title, href=f"#{id_}")) for id_, title, _ in sections)))
    body = (tag("section", tag("h2", title, id=id_), content) for id_, title, content in sections)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", "What is held about you"),
        tag("style", Html(STYLE)),
    )
    html = tag("html", head, tag("body", tag("main", _introduction(person), contents, body)), lang="en")
    return f"<!doctype html>\n{html}\n"


def _introduction(person: Person) -> Iterator[Content]:
    name = " ".join(n for n in ((person.profile or {}).get(f) for f in ("first_name", "last_name")) if n)
    yield tag("h1", "What is held about ", said(name) if name else "you")
    yield tag(
        "p",
        f"Everything that Rapport held about you on {_time(person.made_at)}, under Art. 15 of the General Data "
        f"Protection Regulation (GDPR): {person.events.count:,} events, and what was derived from them. The same is in "
        "person.json and events.ndjson for a computer to read; what you provided yourself is in portable.json. All "
        "times are in UTC.",
    )
    if person.request is not None:
        yield tag(
            "p",
            f"This answers your request {person.request.request} ({person.request.asks_for}), which came in on "
            f"{_time(person.request.received_at)}.",
        )
    if person.events.unreadable:
        yield tag(
            "p",
            tag("strong", f"{len(person.events.unreadable):,} events could not be opened."),
            " They are listed under ",
            tag("a", "everything that happened", href="#events"),
            "; everything else is here.",
            class_="note",
        )
    yield _fields(person.controller.model_dump())
    yield tag("p", f"You are {person.candidate} here", _also(person), ".", class_="quiet")


def _also(person: Person) -> str:
    others = [r for r in person.records if r != person.candidate]
    return f", and also {', '.join(others)}: several records about you were joined" if others else ""


def _uses(person: Person) -> Iterator[Content]:
    columns = ["purpose", "channel", "allowed", "on which basis, or why not", "since", "until", "assessment", "notice"]
    rows = (
        [said(u.purpose), u.channel, _yes(u.allowed), said(u.status), u.since, u.until, u.lia, u.notice_version]
        for u in person.uses
    )
    yield _table(columns, rows)
    yield tag("p", "* is any that is not named. The bases are those of Art. 6(1) GDPR.", class_="quiet")
    yield tag("h3", "What we use such data for in general")
    general = ([p.name, p.description, p.basis, p.articles] for p in person.purposes)
    yield _table(["purpose", "what for", "on which basis", "articles"], general)


def _categories(person: Person) -> Content:
    rows = ([c.field, c.events, "encrypted, with a key of your own" if c.sealed else ""] for c in person.categories)
    return _table(["kind", "in how many events", "how it is stored"], rows)


def _sources(person: Person) -> Iterator[Content]:
    rows = (
        [s.at, s.source or "not recorded", "you" if s.from_the_person else "others", f"event {s.seq}"]
        for s in person.sources
    )
    yield _table(["when", "from where", "entered by", ""], rows)
    yield tag("h3", "Systems and providers that events came from")
    systems = ([s.label, s.events, ", ".join(s.types), s.first_at, s.last_at] for s in person.systems)
    yield _table(["name", "events", "of what", "first", "last"], systems)


def _recipients(person: Person) -> Iterator[Content]:
    rows = ([r.recipient, r.told_of, r.told_at, _yes(r.acknowledged)] for r in person.recipients)
    yield _table(["recipient", "told of", "when", "confirmed"], rows)
    yield tag("h3", "Categories of recipients")
    categories = ([c.who, c.receives, c.third_countries] for c in person.recipient_categories)
    yield _table(["who", "receives", "in which countries outside the EU"], categories)


def _retention(person: Person) -> Content:
    return _table(["what", "how long", "by which rule"], ([k.what, k.rule, k.source] for k in person.retention))


def _scores(person: Person) -> Iterator[Content]:
    logic = person.scores.logic
    yield tag("p", logic.consequences)
    yield tag("h3", "Your score now")
    yield _fields(person.scores.score or {})
    yield tag("h3", f"How it is made (model {logic.model})")
    yield tag("p", logic.explanation)
    named = {"half_life_days": logic.half_life_days, "saturation_points": logic.saturation_points}
    yield _fields(named | {"machine_within_s": logic.machine_within_s})
    yield _table(["event", "points"], ([_words(act), points] for act, points in logic.weight_points.items()))
    yield tag("h3", "What yours is made of")
    yield _each(person.scores.contributions)


def _pools(person: Person) -> Iterator[Content]:
    rows = ([said(p["pool"] or p["pool_id"]), p["joined_at"], p["left_at"]] for p in person.pools)
    yield _table(["pool", "from", "until"], rows)
    if person.placements:
        yield tag("h3", "Put there, or kept out, by hand")
        by_hand = ([said(p["pool"] or p["pool_id"]), _words(p["type"]), p["occurred_at"]] for p in person.placements)
        yield _table(["pool", "what", "when"], by_hand)


def _rights(person: Person) -> Iterator[Content]:
    yield tag("ul", (tag("li", f"{r.right} ", tag("span", f"({r.article})", class_="quiet")) for r in person.rights))
    yield tag("p", "Write to whoever gave you this. You get an answer within a month (Art. 12(3) GDPR).")


def _events(person: Person, events: Iterable[Opened]) -> Iterator[Content]:
    if person.events.unreadable:
        yield tag("h3", "Events that could not be opened")
        rows = ([u.seq, u.type, u.recorded_at, u.reason] for u in person.events.unreadable)
        yield _table(["event", "kind", "recorded", "why"], rows)
    for event in events:
        about = {"happened": event.occurred_at, "recorded": event.recorded_at, "by": _who(event)}
        more = {k: v for k, v in event.data.items() if k not in ("actor", "actor_kind", *HIDDEN)}
        yield tag("h3", f"{_time(event.occurred_at)} · {_words(event.type)}")
        yield tag("p", _meaning(event.type), f" Event {event.seq}.", class_="quiet")
        yield _fields(about | more)


HIDDEN = ("correlation",)


def _who(event: Opened) -> str:
    return "you" if event.by_the_person else str(event.data.get("actor", event.data.get("actor_kind", "")))


def _meaning(type_: str) -> str:
    """The first sentence that the catalogue has on a type of event."""
    described = (candidate.EVENTS[type_].__doc__ or Event.__doc__ or "").split("\n\n", maxsplit=1)[0]
    return " ".join(described.replace("`", "").split())


def _derived(person: Person) -> Iterator[Content]:
    for name, view in person.derived.items():
        if view.rows or view.problem:
            yield tag("h3", _words(name))
            yield tag("p", view.description, class_="quiet")
            yield tag("p", view.problem, class_="note") if view.problem else None
            yield _each(view.rows)


def _each(rows: Iterable[Fields]) -> Html:
    return text(tag("div", _fields(row), class_="row") for row in rows) or tag("p", "Nothing.", class_="quiet")


def _fields(fields: Fields) -> Html:
    """Names and values; left out are what is empty, and the person's id, which is the same all over the page."""
    known = {k: v for k, v in fields.items() if v not in (None, "", [], {}) and k != "canonical_id"}
    if not known:
        return tag("p", "Nothing.", class_="quiet")
    return tag("dl", ((tag("dt", _words(name)), tag("dd", _cell(value), dir="auto")) for name, value in known.items()))


def _table(columns: list[str], rows: Iterable[list[Any]]) -> Html:
    body = text(tag("tr", (tag("td", _cell(value), dir="auto") for value in row)) for row in rows)
    if not body:
        return tag("p", "Nothing.", class_="quiet")
    head = tag("thead", tag("tr", (tag("th", column, scope="col") for column in columns)))
    return tag("table", head, tag("tbody", body))


def _cell(value: Any) -> Html:
    match value:
        case None | Html():
            return text(value)
        case bool():
            return text(_yes(value))
        case float():
            return text(f"{value:.6g}")
        case datetime():
            return text(_time(value))
        case Mapping():
            return said("; ".join(f"{k}: {v}" for k, v in value.items()))
        case list() | tuple():
            return text([*(part for v in value for part in (_cell(v), Html("<br>")))][:-1])
        case str() if len(value) >= len("2026-01-01T00:00") and value[4:5] == "-" and value[10:11] == "T":
            return text(_time_in(value))
    return said(value)


def _time_in(value: str) -> Content:
    try:
        return _time(datetime.fromisoformat(value))
    except ValueError:
        return said(value)


def _time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
