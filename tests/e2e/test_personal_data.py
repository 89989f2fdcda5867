"""Personal data stays closed: what is on disk beside the views' file, and what is said on standard error."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from domain.candidate import BY_COMMAND, EVENTS
from domain.event import personal_fields
from tests.e2e.harness import did, lines, rapport, server_pid, stop, until, up

MARK = "Xq7zVk"
WHO = f"{MARK}email@example.com".lower()
OTHER = f"{MARK}other@example.com".lower()


def everything() -> list[dict[str, object]]:
    """A marker in every personal field of every event, and in every identifier."""

    def mark(name: str) -> str:
        return f"{MARK} {name} Ü"

    identifiers = {
        "email": WHO,
        "phone": "+442079460123",
        "profile": f"https://example.com/in/{MARK}profile",
        "ref": f"greenhouse:{MARK}ref",
    }
    records = [did("sourced", OTHER), did("sourced", WHO) | {"candidate": identifiers}]
    covered = {"identifiers", "actor", "interaction"}
    for type_, event in EVENTS.items():
        if type_ in BY_COMMAND:
            continue
        data: dict[str, object] = {
            name: [mark(name)] if name == "skills" else mark(name)
            for name in personal_fields(event) - {"identifiers", "actor", "interaction"}
        }
        covered |= data.keys()
        data |= {
            "bounced": {"kind": "soft"},
            "event_attended": {"event": "fair"},
            "stage_changed": {"stage": "interview"},
            "basis_recorded": {"basis": "contract"},
            "notice_given": {"article": "14"},
            "merged": {"into": {"email": OTHER}},
            "restricted": {"ground": "unlawful"},
            "request_received": {"request": "ab" * 16, "asks_for": "access"},
            "request_extended": {"request": "ab" * 16, "reason": "number"},
            "request_closed": {"request": "ab" * 16, "outcome": "fulfilled"},
            "recipient_notified": {"recipient": "ats", "about": "restriction"},
        }.get(type_, {})
        envelope = {"id": f"{MARK}id:{type_}", "actor": f"user:{MARK}actor"}
        records.append(did(type_, WHO, **data) | envelope)
    assert covered == {name for event in EVENTS.values() for name in personal_fields(event)}
    return records


def forms(text: str) -> set[bytes]:
    """The text as it may hide: plain in any case, UTF-16, hexadecimal, and base64 at each of its three phases."""
    found: set[bytes] = set()
    for spelled in {text, text.lower(), text.upper()}:
        for raw in (spelled.encode(), spelled.encode("utf-16-le"), spelled.encode("utf-16-be")):
            found |= {raw, raw.hex().encode(), raw.hex().upper().encode()}
            for shift in range(3):
                encoded = base64.b64encode(b"\0" * shift + raw)
                found.add(encoded[(0, 2, 3)[shift] : -4])
    assert min(map(len, found)) >= 4
    return found


def leaks(place: str, content: bytes) -> list[str]:
    return [f"{place}: {form!r}" for form in forms(MARK) | forms("2079460123") if form in content]


def test_the_search_finds_each_form_it_is_meant_to_find() -> None:
    for secret in (MARK, MARK.lower(), "2079460123"):
        for hidden in (secret.encode(), secret.encode("utf-16-le"), secret.encode().hex().encode()):
            assert leaks("x", b"some" + hidden + b"where")
        for lead in ("", "a", "ab", "abc"):
            assert leaks("x", base64.b64encode(f"{lead}{secret} and more".encode()))


def test_nothing_personal_is_on_disk_beside_the_views_nor_on_standard_error(tmp_path: Path) -> None:
    """Imports that are taken, known and refused, reads by reference, a refusal and a stop, with the log wide open."""
    data, inbox = tmp_path / "data", tmp_path / "inbox"
    inbox.mkdir()
    records = everything()
    flawed = [did("winked", WHO), did("sourced", f"{MARK}@"), did("tagged", f"{MARK}nobody@example.com", tag=MARK)]
    said = b""
    noisy = {"RAPPORT_LOG_LEVEL": "debug"}
    with up(data, **noisy) as (node, http):
        path = lines(inbox / "people.ndjson", [*records, *flawed])
        done = rapport(data, "--verbose", "import", path, "--json", **noisy)
        assert json.loads(done.stdout)["accepted"] == len(records)
        assert json.loads(done.stdout)["rejected"] == len(flawed)
        said += done.stderr
        said += rapport(data, "--verbose", "consent", "trail", WHO, "--json", **noisy).stderr
        shown = http.get(f"/v1/candidates/{WHO}").text
        assert MARK in shown, "who may see it sees it"
        for url in (f"/v1/candidates/{WHO}/timeline", f"/v1/engagement/{MARK}@nowhere.example", f"/v1/{MARK}"):
            http.get(url)
        http.post("/v1/interactions", content=f'{{"type": "{MARK}"')
        http.post("/v1/sql", json={"query": f"{MARK} from nowhere"})
        http.post("/v1/pools", json={"name": f"{MARK} pool", "description": f"{MARK} words"}).raise_for_status()
        nats = server_pid(data)
        out, err = stop(node, 15)
        said += out.encode() + err.encode()
    until(lambda: not Path(f"/proc/{nats}").exists())
    said += rapport(data, "--verbose", "import", inbox / "people.ndjson", "--json", **noisy).stderr
    files = [p for p in data.rglob("*") if p.is_file() and not p.name.startswith("views.duckdb")]
    assert any(p.suffix == ".blk" for p in files), "the ledger's own files are among those searched"
    found = leaks("stderr", said)
    for path in files:
        found += leaks(str(path.relative_to(data)), path.read_bytes())
        found += leaks("name of a file", str(path.relative_to(data)).encode())
    assert not found
