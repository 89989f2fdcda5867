"""Certificates of Amazon SNS: what made-up addresses cost, and what they may not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import httpx
import pytest

from consumers.webhooks import ses
from consumers.webhooks.delivery import Refused
from infra import sns_certificates
from infra.sns_certificates import AT_ONCE, REFUSED_S, CertificateAway, NoCertificate, SnsCertificates
from tests.deliveries import NOW, TOPIC, of_ses, ses_event


def at(number: int) -> str:
    return f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{number:032x}.pem"


class Clock:
    """Time as the cache sees it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def over(answer: Callable[[httpx.Request], httpx.Response], clock: Clock | None = None) -> SnsCertificates:
    return SnsCertificates(lambda: httpx.Client(transport=httpx.MockTransport(answer)), clock or Clock())


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_address_without_a_certificate_is_asked_once_and_after_a_while_again(status: int) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(status)

    clock = Clock()
    certificates = over(answer, clock)
    for _ in range(3):
        with pytest.raises(NoCertificate):
            certificates(at(1))
    assert asked == [at(1)]
    clock.now += REFUSED_S
    with pytest.raises(NoCertificate):
        certificates(at(1))
    assert asked == [at(1)] * 2


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (429, CertificateAway), (503, CertificateAway)])
def test_a_delivery_that_names_no_certificate_is_refused_and_not_asked_for_again(
    status: int, error: type[Exception]
) -> None:
    provider = ses.Ses(over(lambda _: httpx.Response(status)))
    delivery = of_ses(ses_event(), SigningCertURL=at(1))
    with pytest.raises(error) as caught:
        provider.verify(delivery, (TOPIC,), NOW)
    assert getattr(caught.value, "code", "signature") == "signature"


def test_so_many_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sns_certificates, "MOST_REFUSED", 3)
    certificates = over(lambda _: httpx.Response(404))
    for number in range(10):
        with pytest.raises(NoCertificate):
            certificates(at(number))
    assert list(certificates._refused) == [at(7), at(8), at(9)]


def test_few_are_fetched_at_a_time_and_what_is_held_is_answered_meanwhile() -> None:
    go_on, inside = Event(), Semaphore(0)

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url) != at(0):
            inside.release()
            assert go_on.wait(30)
        return httpx.Response(200, content=b"PEM")

    certificates = over(answer)
    assert certificates(at(0)) == b"PEM"
    with ThreadPoolExecutor(AT_ONCE) as callers:
        asked = [callers.submit(certificates, at(number)) for number in range(1, 1 + AT_ONCE)]
        assert all(inside.acquire(timeout=30) for _ in range(AT_ONCE))
        with pytest.raises(CertificateAway):
            certificates(at(9))
        assert certificates(at(0)) == b"PEM"
        go_on.set()
        assert [one.result() for one in asked] == [b"PEM"] * AT_ONCE
    assert certificates(at(9)) == b"PEM"
