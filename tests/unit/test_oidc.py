"""Tokens of an identity provider: which count, which do not, and what happens when its keys change or it is away."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import hmac
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError

from infra import jwks
from infra.jwks import AGAIN_S, FRESH_S, KEEP_S, MOST_WAITING, KeySet, KeysUnavailable
from infra.oidc import Claims, Issuer, TokenRefused
from infra.settings import Settings
from tests.provider import AUDIENCE, MAKE, Provider, provider


class Clock:
    """Time as the issuer sees it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    with provider() as found:
        yield found


@pytest.fixture
def own() -> Iterator[Provider]:
    """One that a test may change."""
    with provider() as found:
        yield found


def issuer(of: Provider, clock: Clock | None = None, **more: Any) -> Issuer:
    return Issuer(Settings(oidc_issuer=of.url, oidc_audience=AUDIENCE, **more), clock or Clock())


def refused(by: Issuer, token: str) -> str:
    with pytest.raises(TokenRefused) as caught:
        by.verified(token)
    return str(caught.value)


def part(document: Any) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")


# ── what counts ──


@pytest.mark.parametrize("algorithm", list(MAKE))
def test_a_good_token_says_who_its_bearer_is_and_in_which_roles(shared: Provider, algorithm: str) -> None:
    token = shared.token(algorithm.lower(), roles=["compliance", "analyst", "janitor"])
    until = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["exp"] + 30.0
    assert issuer(shared).verified(token) == Claims("u-17", frozenset({"compliance", "analyst"}), until)


@pytest.mark.parametrize(
    ("named", "claims", "roles"),
    [
        ({}, {"roles": "analyst recruiter"}, {"analyst", "recruiter"}),
        ({}, {}, set()),
        ({}, {"roles": {"admin": True}}, set()),
        ({"oidc_roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["admin"]}}, {"admin"}),
        ({"oidc_roles_claim": "realm_access.roles"}, {"realm_access": "admin"}, set()),
        ({"oidc_roles_claim": "https://crm.example/roles"}, {"https://crm.example/roles": ["service"]}, {"service"}),
        ({"oidc_roles": "crm-officers=compliance, crm-all=recruiter"}, {"roles": ["crm-officers"]}, {"compliance"}),
        ({"oidc_roles": "crm-officers=compliance"}, {"roles": ["admin", "compliance"]}, set()),
    ],
)
def test_roles_come_from_the_claim_and_by_the_names_that_are_set(
    shared: Provider, named: dict[str, Any], claims: dict[str, Any], roles: set[str]
) -> None:
    assert issuer(shared, **named).verified(shared.token(**claims)).roles == roles


def test_an_audience_among_several_and_a_token_without_nbf_count(shared: Provider) -> None:
    assert issuer(shared).verified(shared.token(aud=["other", AUDIENCE], without="nbf")).subject == "u-17"


def test_clocks_may_differ_by_the_leeway_and_no_more(shared: Provider) -> None:
    now = int(time.time())
    assert issuer(shared, oidc_leeway_s=60).verified(shared.token(exp=now - 20, nbf=now + 20, iat=now + 20)).subject
    assert "expired" in refused(issuer(shared, oidc_leeway_s=0), shared.token(exp=now - 20))
    assert issuer(shared, oidc_leeway_s=60).verified(shared.token(exp=now - 20)).until == now + 40
    assert issuer(shared).verified(shared.token(exp=10**400)).until > now


# ── what does not ──


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": 1}, "expired"),
        ({"nbf": 9_999_999_999}, "not come yet"),
        ({"iat": 9_999_999_999}, "not come yet"),
        ({"aud": "other"}, "another audience"),
        ({"iss": "https://other.example"}, "another issuer"),
        ({"sub": ""}, "no name"),
        ({"sub": "a\nb"}, "no name"),
        ({"sub": "a" * 256}, "no name"),
        ({"exp": "soon"}, "malformed"),
        *(({"without": name}, "lacks") for name in ("exp", "iat", "iss", "aud", "sub")),
    ],
)
def test_a_token_that_does_not_say_what_it_must_is_refused(shared: Provider, claims: dict[str, Any], why: str) -> None:
    said = refused(issuer(shared), shared.token(roles=["admin"], **claims))
    assert why in said
    assert "u-17" not in said


def test_a_token_that_nobody_signed_is_refused(shared: Provider) -> None:
    payload = shared.token(roles=["admin"]).split(".")[1].encode()
    for algorithm in ("none", "None", "NONE", "", None, 5, ["RS256"]):
        token = b".".join((part({"alg": algorithm, "kid": "rs256"}), payload, b""))
        assert "refused" in refused(issuer(shared), token.decode())


def test_a_public_key_is_never_taken_for_a_shared_secret(shared: Provider) -> None:
    """HS256 with the provider's RSA key as the secret, in each form in which one may have it (RFC 8725, 2.1)."""
    payload = shared.token(roles=["admin"]).split(".")[1].encode()
    public = shared.private["rs256"][1].public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(shared.jwks[0]).encode(),
    ]
    for name, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        for secret in secrets:
            signed = b".".join((part({"alg": name, "kid": "rs256"}), payload))
            code = base64.urlsafe_b64encode(hmac.new(secret, signed, digest).digest()).rstrip(b"=")
            assert "algorithms" in refused(issuer(shared), b".".join((signed, code)).decode())


def test_a_key_counts_for_its_own_algorithm_only(shared: Provider) -> None:
    """A token that names the key of one kind and the algorithm of another, and one signed by somebody else."""
    assert "no such key" in refused(issuer(shared), shared.token("es256", headers={"kid": "rs256"}))
    with provider() as other:
        forged = other.token("rs256", iss=shared.url, roles=["admin"])
        assert "signature" in refused(issuer(shared), forged)
        inside = other.token("rs256", iss=shared.url, headers={"jwk": other.jwks[0], "jku": f"{other.url}/keys"})
        assert "signature" in refused(issuer(shared), inside)
        assert other.asked == 0, "where keys are is for us to say, not for the token"


def test_a_changed_claim_breaks_the_signature(shared: Provider) -> None:
    head, _, code = shared.token(roles=["analyst"]).split(".")
    other = shared.token(roles=["admin"]).split(".")[1]
    assert "signature" in refused(issuer(shared), f"{head}.{other}.{code}")


@given(text=st.text(max_size=60))
@settings(max_examples=2000 if os.environ.get("RAPPORT_SOAK") else 50, deadline=None)
def test_whatever_is_presented_is_refused_in_a_sentence(shared: Provider, text: str) -> None:
    for token in (text, f"{text}.{text}.{text}", f"{part({'alg': text}).decode()}.{text}."):
        assert refused(issuer(shared), token).startswith("the token is refused")


@pytest.mark.parametrize("token", [f"{'[' * 12_000}.x.y", "a" * 20_000 + ".b.c"])
def test_a_token_made_to_cost_is_refused(shared: Provider, token: str) -> None:
    body = base64.urlsafe_b64encode(token.partition(".")[0].encode()).decode().rstrip("=")
    assert refused(issuer(shared), f"{body}.x.y")


def test_keys_that_are_too_weak_or_for_something_else_are_not_taken(own: Provider) -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
    own.private["weak"] = "RS256", weak
    shown = RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True)
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    own.jwks += [shown | {"kid": "weak"}, secret, {"kty": "RSA", "kid": "broken"}, {}, {"kid": 7}]
    own.jwks[0]["use"] = "enc"
    by = issuer(own)
    for key_id in ("weak", "rs256"):
        assert "no such key" in refused(by, own.token(key_id))
    assert by.verified(own.token("es256")).subject == "u-17"


# ── its keys ──


def test_keys_are_fetched_once_and_again_when_they_are_old(own: Provider) -> None:
    clock = Clock()
    by = issuer(own, clock)
    for _ in range(5):
        by.verified(own.token())
    assert own.asked == 1
    clock.now += FRESH_S + 1
    by.verified(own.token())
    assert own.asked == 2


def test_a_new_key_counts_at_once_and_a_withdrawn_one_no_more(own: Provider) -> None:
    clock = Clock()
    by = issuer(own, clock)
    by.verified(old := own.token())
    own.rotate("RS256", "new")
    clock.now += AGAIN_S + 1
    assert by.verified(own.token("new")).subject == "u-17"
    assert "no such key" in refused(by, old)


def test_made_up_key_ids_do_not_make_us_ask_again_and_again(own: Provider) -> None:
    clock = Clock()
    by = issuer(own, clock)
    by.verified(own.token())
    for number in range(20):
        clock.now += 1
        refused(by, own.token(headers={"kid": f"made up {number}"}))
    assert own.asked == 1
    clock.now += AGAIN_S
    refused(by, own.token(headers={"kid": "another"}))
    assert own.asked == 2


def test_while_the_provider_is_away_keys_go_on_for_an_hour_and_then_nothing_does(own: Provider) -> None:
    clock = Clock()
    by = issuer(own, clock)
    by.verified(own.token())
    own.answers = False
    clock.now += KEEP_S - 1
    assert by.verified(own.token()).subject == "u-17"
    clock.now += 2
    with pytest.raises(KeysUnavailable):
        by.verified(own.token())
    own.answers = True
    clock.now += AGAIN_S
    assert by.verified(own.token()).subject == "u-17"


def test_a_provider_that_was_never_reached_makes_tokens_wait_and_not_fail(own: Provider) -> None:
    clock = Clock()
    by = issuer(own, clock)
    own.answers = False
    with pytest.raises(KeysUnavailable):
        by.verified(own.token())
    own.answers = True
    clock.now += AGAIN_S
    assert by.verified(own.token()).subject == "u-17"


# ── a provider that neither answers nor refuses ──


@pytest.fixture
def trickling(own: Provider) -> Iterator[Provider]:
    """Its answers begin, and go on beginning."""
    own.trickles = True
    yield own
    own.trickles = False


def test_a_fetch_ends_in_time_however_slowly_the_provider_answers(
    trickling: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "WITHIN_S", 0.3)
    clock = Clock()
    by = issuer(trickling, clock)
    with pytest.raises(KeysUnavailable):
        by.verified(trickling.token())
    begun = trickling.begun
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            by.verified(trickling.token())
    assert trickling.begun == begun, "it is left alone for as long as it took"


def test_a_resolver_that_hangs_holds_nobody_up_and_is_asked_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up cannot be broken off: it goes on by itself, and its answer counts when it comes."""
    monkeypatch.setattr(jwks, "WITHIN_S", 2.0)
    monkeypatch.setattr(jwks, "WAIT_S", 0.02)
    clock, go_on, asked, resolve = Clock(), Event(), [0], socket.getaddrinfo

    def hangs(*args: Any, **options: Any) -> Any:
        asked[0] += 1
        assert go_on.wait(30)
        return resolve("127.0.0.1", 9)

    async def url(_: httpx.AsyncClient) -> str:
        return "https://idp.example/keys"

    keys = KeySet(url, clock)
    with monkeypatch.context() as hanging:
        hanging.setattr(socket, "getaddrinfo", hangs)
        with ThreadPoolExecutor(1) as caller:
            for _ in range(3):
                assert isinstance(caller.submit(keys.find, "RS256", "x").exception(20), KeysUnavailable)
                clock.now += 3 * AGAIN_S
        assert asked == [1]
        go_on.set()
        until(keys._idle.is_set)


def test_without_files_or_threads_for_a_fetch_tokens_wait(own: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    by = issuer(own, clock)
    for place, error in (
        ("infra.jwks.asyncio.run", OSError(errno.EMFILE, "Too many open files")),
        ("infra.jwks.Thread.start", RuntimeError("can't start new thread")),
    ):
        with monkeypatch.context() as without:
            without.setattr(place, _raising(error))
            with pytest.raises(KeysUnavailable):
                by.verified(own.token())
        clock.now += AGAIN_S
    assert by.verified(own.token()).subject == "u-17"


def _raising(error: Exception) -> Callable[..., Any]:
    def raises(*given: Any, **__: Any) -> Any:
        for coroutine in filter(asyncio.iscoroutine, given):
            coroutine.close()
        raise error

    return raises


def test_while_keys_are_being_fetched_few_wait_and_not_for_long(
    trickling: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "WITHIN_S", 60.0)
    monkeypatch.setattr(jwks, "WAIT_S", 0.05)
    by = issuer(trickling)
    token = trickling.token()
    with ThreadPoolExecutor(30) as callers:
        first = callers.submit(by.verified, token)
        until(lambda: trickling.begun)
        others = [callers.submit(by.verified, token) for _ in range(29)]
        assert {type(other.exception(30)) for other in others} == {KeysUnavailable}
        assert not first.done()
        monkeypatch.setattr(jwks, "WAIT_S", 60.0)
        waiting = [callers.submit(by.verified, token) for _ in range(10)]
        until(lambda: sum(other.done() for other in waiting) == 10 - MOST_WAITING)
        trickling.trickles = False
        assert first.result(30).subject == "u-17"
        assert [other.exception(30) for other in waiting].count(None) == MOST_WAITING


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
    ],
)
def test_a_provider_that_describes_another_or_points_elsewhere_is_not_followed(
    own: Provider, document: dict[str, Any]
) -> None:
    own.document |= document
    with pytest.raises(KeysUnavailable):
        issuer(own).verified(own.token())


def test_keys_at_a_place_that_is_set_need_no_discovery(own: Provider) -> None:
    own.document = {}
    assert issuer(own, oidc_jwks_url=f"{own.url}/keys").verified(own.token()).subject == "u-17"


# ── settings ──


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "https://login.example"},
        {"oidc_audience": "rapport"},
        {"oidc_issuer": "http://login.example", "oidc_audience": "rapport"},
        {"oidc_issuer": "ftp://login.example", "oidc_audience": "rapport"},
        {"oidc_roles": "crm=king"},
        {"oidc_roles": "crm"},
        {"oidc_leeway_s": 3600},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)
