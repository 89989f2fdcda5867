"""`rapport access`, as a compliance officer runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import complaint, did, ok, rapport, up

WHO = "ada@example.com"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("access") / "data"
    with up(folder) as (_, http):
        http.post("/v1/interactions", json=did("sourced", WHO)).raise_for_status()
        ok(folder, "candidate", "show", WHO)
        ok(folder, "consent", "trail", WHO)
        ok(folder, "query", "select count(*) from pii.events", "--role", "admin")
        ok(folder, "query", "select count(*) from events")
        yield folder


def test_the_list_says_who_read_what_about_whom(data: Path) -> None:
    found = json.loads(ok(data, "access", "list", "--json"))["records"]
    assert [(r["what"], r["role"]) for r in found if r["what"] != "access_log"] == [
        ("profile", "admin"),
        ("trail", "admin"),
        ("sql", "admin"),
        ("sql", "analyst"),
    ]
    about = json.loads(ok(data, "access", "list", "--of", WHO, "--json"))["records"]
    assert {"profile", "trail"} <= {r["what"] for r in about}
    assert "sql" not in {r["what"] for r in about}
    by = json.loads(ok(data, "access", "list", "--by", "admin", "--what", "sql", "--json"))["records"]
    assert [r["schemas"] for r in by] == [["pii"]]


def test_the_list_for_people_says_the_same_and_how_to_go_on(data: Path) -> None:
    shown = ok(data, "access", "list", "--limit", "3").decode()
    assert "profile" in shown
    assert "1 row of pii" in " ".join(shown.split())
    assert WHO not in shown
    assert "--after 3" in shown
    assert "profile" not in ok(data, "access", "list", "--after", "3").decode()
    assert ok(data, "access", "list", "--since", "2100-01-01").decode() == "there is no such read\n"


def test_verify_prints_a_head_that_later_shows_the_log_was_not_written_anew(data: Path) -> None:
    found = json.loads(ok(data, "access", "verify", "--json"))
    assert found["clean"]
    assert f"head {found['head'].partition(':')[0]}" not in ok(data, "access", "verify").decode(), "it has grown"
    assert b"nothing found" in ok(data, "access", "verify", "--head", found["head"])
    forged = f"{found['head'].partition(':')[0]}:{'0' * 64}"
    done = rapport(data, "access", "verify", "--head", forged)
    assert done.returncode == 1
    assert b"written anew" in done.stdout


def test_wrong_usage_is_one_sentence(data: Path) -> None:
    assert rapport(data, "access", "verify", "--head", "x").returncode == 2
    assert rapport(data, "access", "list", "--since", "yesterday").returncode == 2
    assert "no candidate" in complaint(data, "access", "list", "--of", "nobody@example.com")


def test_without_a_running_node_the_log_is_asked_all_the_same(tmp_path: Path) -> None:
    assert ok(tmp_path / "data", "access", "list").decode() == "there is no such read\n"
    assert b"nothing found" in ok(tmp_path / "data", "access", "verify")


def test_a_command_asks_in_the_role_that_is_named_and_a_roles_token_can_be_had(data: Path) -> None:
    assert "the caller is analyst" in complaint(data, "--role", "analyst", "candidate", "show", WHO)
    assert "the caller is recruiter" in complaint(data, "findings", RAPPORT_ROLE="recruiter")
    tokens = json.loads((data / "tokens.json").read_text())
    assert ok(data, "token").decode().strip() == tokens["admin"]
    assert ok(data, "--role", "service", "token").decode().strip() == tokens["service"]
    assert ok(data, "token", "analyst").decode().strip() == tokens["analyst"]
