"""Identifiers of erased persons: they lead to nobody until an officer lifts that, and nothing lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.http.roles import Role, Tokens
from api.node import Node
from infra.crypto.claims import SUPPRESSED
from infra.erasing import RECORDED
from infra.jetstream import Bucket
from tests.integration.test_http import did, get, is_problem, record, running, somebody, until

PATH = "/v1/compliance/suppressions"
BECAUSE = "applied on the careers page"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, httpx.Client]]:
    with running(tmp_path_factory.mktemp("node")) as found:
        yield found


def phone(number: int) -> str:
    return f"+4420794601{number:02}"


def erased(http: httpx.Client, *who: str) -> list[str]:
    """These persons, erased and certified; the erasures."""
    found = []
    for one in who:
        asked = {"candidate": one, "ground": "objection", "by": "user:dpo"}
        found.append(http.post("/v1/compliance/erasures", json=asked).json()["erasure"])
    until(lambda: all(get(http, f"/v1/compliance/erasures/{e}")["certified"] for e in found), 60.0)
    return found


def lift(http: httpx.Client, identifier: str, because: str = BECAUSE) -> httpx.Response:
    return http.post(f"{PATH}/lift", json={"identifier": identifier, "because": because, "by": "user:dpo"})


def check(http: httpx.Client, identifier: str) -> dict[str, Any]:
    answer = http.post(f"{PATH}/check", json={"identifier": identifier})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sent(http: httpx.Client, document: dict[str, Any]) -> str:
    (result,) = http.post("/v1/interactions", json=[document]).json()["results"]
    return str(result.get("code", result["status"]))


def test_a_new_person_with_a_suppressed_identifier_is_recorded_once_that_is_lifted(
    here: tuple[Node, httpx.Client],
) -> None:
    """Beside an identifier of nobody too; it is a new relation, of which the erased record knows nothing."""
    node, http = here
    who, shared = somebody(), phone(1)
    record(http, did("sourced", {"email": who, "phone": shared}, first_name="Ada"))
    old = get(http, f"/v1/candidates/{who}")["canonical_id"]
    (erasure,) = erased(http, who)
    new = {"email": somebody(), "phone": shared}
    assert check(http, shared) == {"suppressed": True, "erasures": [erasure], "unrecognised": None, "lifted": []}
    before = node.ledger.last_seq()
    assert sent(http, did("sourced", new)) == "erased"
    assert node.ledger.last_seq() == before
    answer = lift(http, shared)
    assert answer.status_code == 200, answer.text
    assert check(http, shared) == answer.json()
    assert (answer.json()["suppressed"], answer.json()["erasures"]) == (False, [erasure])
    (lifted,) = answer.json()["lifted"]
    assert (lifted["by"], lifted["because"]) == ("user:dpo", BECAUSE)
    assert sent(http, did("sourced", new, first_name="Grace")) == "accepted"
    node.wait_for(node.ledger.last_seq())
    profile = get(http, f"/v1/candidates/{shared}")
    assert profile["first_name"] == "Grace"
    assert profile["canonical_id"] != old
    assert check(http, who)["suppressed"], "each identifier is lifted by itself"
    is_problem(http.get(f"/v1/candidates/{old}"), 410, "erased")
    is_problem(lift(http, shared), 404, "not-suppressed")


def test_what_was_lifted_is_suppressed_again_only_by_a_new_erasure(here: tuple[Node, httpx.Client]) -> None:
    """The first one, taken up once more, leaves the new person alone."""
    node, http = here
    who = somebody()
    record(http, did("sourced", who))
    (first,) = erased(http, who)
    assert lift(http, who).status_code == 200
    record(http, did("sourced", who))
    again = node.erasures.get(first)
    assert again is not None
    node.erasures.add(again, [])  # as a merge that was found late does: every step is taken once more
    node.erasing._wake.set()
    until(lambda: get(http, f"/v1/compliance/erasures/{first}")["certified"], 60.0)
    assert get(http, f"/v1/candidates/{who}")["identifiers"] == [f"email:{who}"]
    (second,) = erased(http, who)
    found = check(http, who)
    assert (found["suppressed"], found["erasures"]) == (True, [first, second])
    assert sent(http, did("sourced", who)) == "erased"
    assert [len(e["lifted"]) for e in (lift(http, who).json(),)] == [2]


def test_a_lift_killed_half_way_may_be_repeated(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    who = somebody()
    record(http, did("sourced", who))
    erased(http, who)
    (hashed,) = node.claims.hashes([f"email:{who}"])
    assert lift(http, who).status_code == 200
    node.claims._bucket.put(hashed, SUPPRESSED.encode())  # as if it had not come to this
    found = lift(http, who).json()
    assert (found["suppressed"], len(found["lifted"])) == (False, 1)


def test_a_lift_that_comes_late_leaves_what_came_of_the_identifier_alone(here: tuple[Node, httpx.Client]) -> None:
    """Two nodes lift at once: the slower one finds a new person's claim where it saw a suppression."""
    node, http = here
    who = somebody()
    record(http, did("sourced", who))
    erased(http, who)
    (hashed,) = node.claims.hashes([f"email:{who}"])
    seen = node.claims.suppressed(hashed)
    assert seen is not None
    assert lift(http, who).status_code == 200
    record(http, did("sourced", who))
    node.claims.free(hashed, seen)
    node.wait_for(node.ledger.last_seq())
    assert get(http, f"/v1/candidates/{who}")["identifiers"] == [f"email:{who}"]
    erased(http, who)
    node.claims.free(hashed, seen)
    assert check(http, who)["suppressed"], "what a later erasure suppressed was not what was lifted"


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_suppression_that_was_damaged_holds_again_from_the_next_start(
    here: tuple[Node, httpx.Client], damage: str
) -> None:
    """What was lifted stays so."""
    node, http = here
    who, free = somebody(), somebody()
    record(http, did("sourced", who), did("sourced", free))
    erased(http, who, free)
    assert lift(http, free).status_code == 200
    (hashed,) = node.claims.hashes([f"email:{who}"])
    bucket = node.claims._bucket
    assert isinstance(bucket, Bucket)
    if damage == "gone":
        bucket.destroy(hashed)
    else:
        bucket.put(hashed, b"erasee")
    assert not check(http, who)["suppressed"]
    node.erasures.renew()  # which every start does
    assert check(http, who)["suppressed"]
    assert not check(http, free)["suppressed"]
    assert sent(http, did("sourced", who)) == "erased"


def test_what_is_being_suppressed_is_not_lifted_meanwhile(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    who = somebody()
    record(http, did("sourced", who))
    (id_,) = erased(http, who)
    entry = node.erasures._bucket.get_entry(id_)
    assert entry is not None
    done = node.erasures.get(id_)
    assert done is not None
    unfinished = done.model_copy(update={"steps": {RECORDED: done.steps[RECORDED]}})
    with node.erasing._lock:
        node.erasures._bucket.put(id_, unfinished.model_dump_json().encode())
        is_problem(lift(http, who), 409, "not-certified")
    node.erasing._wake.set()
    until(lambda: get(http, f"/v1/compliance/erasures/{id_}")["certified"], 60.0)
    assert lift(http, who).status_code == 200


@pytest.mark.parametrize(
    ("identifier", "because", "status"),
    [
        ("0" * 32, BECAUSE, 422),
        ("ada@", BECAUSE, 422),
        ("", BECAUSE, 422),
        ("ada@example.com", "", 422),
        ("ada@example.com", "ada@example.com wrote", 422),
        ("nobody@example.com", BECAUSE, 404),
    ],
)
def test_what_cannot_be_lifted_is_one_sentence_that_repeats_no_identifier(
    here: tuple[Node, httpx.Client], identifier: str, because: str, status: int
) -> None:
    answer = lift(here[1], identifier, because)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert "@example.com" not in answer.text


def test_a_living_persons_identifier_is_neither_shown_nor_lifted(here: tuple[Node, httpx.Client]) -> None:
    _, http = here
    who = somebody()
    record(http, did("sourced", who))
    assert check(http, who) == {"suppressed": False, "erasures": [], "unrecognised": None, "lifted": []}
    is_problem(lift(http, who), 404, "not-suppressed")
    assert get(http, f"/v1/candidates/{who}")["identifiers"] == [f"email:{who}"]


def test_only_officers_ask_and_it_is_in_the_access_log(here: tuple[Node, httpx.Client]) -> None:
    node, http = here
    tokens = Tokens.of(node.settings.tokens_file)
    for role in (Role.RECRUITER, Role.SERVICE, Role.ANALYST):
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        for path, more in (("check", {}), ("lift", {"because": BECAUSE})):
            answer = http.post(f"{PATH}/{path}", json={"identifier": somebody()} | more, headers=headers)
            assert answer.status_code == 403, (role, path)
    headers = {"Authorization": f"Bearer {tokens[Role.COMPLIANCE]}"}
    assert http.post(f"{PATH}/check", json={"identifier": somebody()}, headers=headers).status_code == 200
    records = get(http, "/v1/access-log", what="suppression", limit=1000)["records"]
    assert (records[-1]["role"], records[-1]["outcome"]) == ("compliance", "served")
    assert {record["route"] for record in records} == {f"POST {PATH}/check", f"POST {PATH}/lift"}
