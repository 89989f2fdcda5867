"""Certificates of Amazon SNS: what made-up addresses cost, and what they may not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from threading import Event, Semaphore

import httpx
import pytest

from consumers.webhooks import ses
from infra import sns_certificates
from infra.sns_certificates import AT_ONCE, REFUSED_S, TIMEOUT_S, CertificateAway, SnsCertificates
from tests.deliveries import NOW, TOPIC, of_ses, ses_event, sns_certificate

SNS_TRIES_AGAIN_S = 20.0
"""By default three times, at this distance (Amazon SNS message delivery retries)."""


def at(number: int) -> str:
    return f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{number:032x}.pem"


class Clock:
    """Time as the cache sees it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def over(
    answer: Callable[[httpx.Request], httpx.Response], clock: Callable[[], float] | None = None
) -> SnsCertificates:
    return SnsCertificates(lambda: httpx.Client(transport=httpx.MockTransport(answer)), clock or Clock())


def good() -> httpx.Response:
    return httpx.Response(200, content=sns_certificate())


@pytest.mark.parametrize(
    "answer",
    [
        *map(httpx.Response, (302, 400, 403, 404, 410, 429, 500, 503)),
        httpx.Response(200, content=b"<html>a proxy's page</html>"),
        httpx.Response(200, content=b"a" * 30_000),
    ],
)
def test_whatever_is_no_certificate_is_asked_for_again_when_sns_sends_again(answer: httpx.Response) -> None:
    """A refusal would be the end of the delivery: SNS drops what is answered by a 4xx."""
    assert REFUSED_S < SNS_TRIES_AGAIN_S
    clock, found = Clock(), iter([answer, good()])
    provider = ses.Ses(over(lambda _: next(found), clock))
    delivery = of_ses(ses_event())
    for _ in range(3):
        with pytest.raises(CertificateAway):
            provider.verify(delivery, (TOPIC,), NOW)
    clock.now += SNS_TRIES_AGAIN_S
    provider.verify(delivery, (TOPIC,), NOW)


def test_an_address_without_a_certificate_is_asked_once_for_some_seconds() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(403)

    certificates = over(answer)
    for _ in range(5):
        with pytest.raises(CertificateAway):
            certificates(at(1))
    assert asked == [at(1)]


def test_a_certificate_that_trickles_in_is_given_up() -> None:
    clock = Clock()

    def trickle() -> bytes:
        clock.now += TIMEOUT_S / 3
        return b"-"

    certificates = over(lambda _: httpx.Response(200, content=(trickle() for _ in range(1_000))), clock)
    with pytest.raises(CertificateAway, match="too long in coming"):
        certificates(at(1))
    assert clock.now < 1000.0 + 2 * TIMEOUT_S


def test_so_many_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns_certificates, "MOST_NOTED", 3)
    certificates = over(lambda _: httpx.Response(404))
    for number in range(10):
        with pytest.raises(CertificateAway):
            certificates(at(number))
    assert list(certificates._refused) == [at(7), at(8), at(9)]


def test_few_are_fetched_at_a_time_and_what_is_held_is_answered_meanwhile() -> None:
    go_on, inside = Event(), Semaphore(0)

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) != at(0):
            inside.release()
            assert go_on.wait(30)
        return good()

    certificates = over(answer)
    assert certificates(at(0)) == sns_certificate()
    with ThreadPoolExecutor(AT_ONCE) as callers:
        asked = [callers.submit(certificates, at(number)) for number in range(1, 1 + AT_ONCE)]
        assert all(inside.acquire(timeout=30) for _ in range(AT_ONCE))
        with pytest.raises(CertificateAway):
            certificates(at(9))
        assert certificates(at(0)) == sns_certificate()
        go_on.set()
        assert [one.result() for one in asked] == [sns_certificate()] * AT_ONCE
    assert certificates(at(9)) == sns_certificate()


@pytest.mark.parametrize("times", [1, 3])
def test_made_up_addresses_do_not_keep_ours_from_being_fetched(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """While fetches are always under way, and 50 others are asked for (each so many times) whenever one ends."""
    monkeypatch.setattr(sns_certificates, "MOST_NOTED", 100)
    made_up, ours, fetched = count(1), at(0), list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        """Others ask meanwhile, and find no fetch free: this one goes on."""
        fetched.append(str(request.url))
        if len(fetched) < 1_000 and ours not in fetched:
            monkeypatch.setattr(sns_certificates, "AT_ONCE", 0)
            for _ in range(50):
                address = at(next(made_up))
                for _ in range(times):
                    with suppress(CertificateAway):
                        certificates(address)
            with suppress(CertificateAway):
                certificates(ours)
            monkeypatch.setattr(sns_certificates, "AT_ONCE", 1)
        return good() if str(request.url) == ours else httpx.Response(403)

    certificates = over(answer)
    while ours not in fetched:
        with suppress(CertificateAway):
            certificates(at(next(made_up)))
        assert len(fetched) < 200
    assert certificates(ours) == sns_certificate()
