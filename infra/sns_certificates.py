"""Certificates of Amazon SNS, fetched once each. Whoever asks has made sure that the address is Amazon's."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import BoundedSemaphore, Lock

import httpx
from eventsourcing.persistence import OperationalError

TIMEOUT_S = 5.0
MOST = 32
MAX_BYTES = 20_000
AT_ONCE = 2
"""Fetches at a time. There are a handful of certificates in years, and anybody can make up their addresses."""
REFUSED_S, MOST_REFUSED = 600.0, 1_000
"""For so long, and of so many addresses, it is remembered that there is nothing."""
NOT_FOR_GOOD = (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS)


class CertificateAway(OperationalError):
    """The certificate could not be had just now."""


class NoCertificate(ValueError):
    """There is no certificate at this address."""


class SnsCertificates:
    """A cache over HTTPS. It follows no redirect: the address that was looked at is the one that answers."""

    def __init__(
        self,
        client: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=TIMEOUT_S),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[str, bytes] = {}
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()
        self._fetching = BoundedSemaphore(AT_ONCE)

    def __call__(self, address: str) -> bytes:
        """The certificate in PEM form. Raises NoCertificate, or CertificateAway."""
        with self._lock:
            if (held := self._held.get(address)) is not None:
                return held
            if self._clock() - self._refused.get(address, float("-inf")) < REFUSED_S:
                raise NoCertificate("Amazon SNS has no such certificate")
        if not self._fetching.acquire(blocking=False):
            raise CertificateAway("other certificates of Amazon SNS are being fetched")
        try:
            found = self._fetched(address)
        except NoCertificate:
            self._note_refused(address)
            raise
        finally:
            self._fetching.release()
        with self._lock:
            if len(self._held) >= MOST:
                self._held.clear()
            self._held[address] = found
        return found

    def _fetched(self, address: str) -> bytes:
        try:
            with self._client() as client, client.stream("GET", address, follow_redirects=False) as answer:
                if answer.is_client_error and answer.status_code not in NOT_FOR_GOOD:
                    raise NoCertificate("Amazon SNS has no such certificate")
                if answer.status_code != httpx.codes.OK:
                    raise CertificateAway(f"Amazon SNS answers {answer.status_code} for its certificate")
                found = b""
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > MAX_BYTES:
                        raise CertificateAway("what lies in the place of a certificate of Amazon SNS is none")
        except httpx.HTTPError as error:
            raise CertificateAway(f"the certificate of Amazon SNS cannot be had ({type(error).__name__})") from None
        return found

    def _note_refused(self, address: str) -> None:
        with self._lock:
            self._refused[address] = self._clock()
            self._refused.move_to_end(address)
            if len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)
