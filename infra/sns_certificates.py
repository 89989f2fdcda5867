"""Certificates of Amazon SNS, fetched once each. Whoever asks has made sure that the address is Amazon's."""

from collections.abc import Callable
from threading import Lock

import httpx
from eventsourcing.persistence import OperationalError

TIMEOUT_S = 5.0
MOST = 32
MAX_BYTES = 20_000


class CertificateAway(OperationalError):
    """The certificate could not be had just now."""


class SnsCertificates:
    """A cache over HTTPS. It follows no redirect: the address that was looked at is the one that answers."""

    def __init__(self, client: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=TIMEOUT_S)) -> None:
        self._client = client
        self._held: dict[str, bytes] = {}
        self._lock = Lock()

    def __call__(self, address: str) -> bytes:
        """The certificate in PEM form. Raises CertificateAway."""
        with self._lock:
            held = self._held.get(address)
        if held is not None:
            return held
        try:
            with self._client() as client, client.stream("GET", address, follow_redirects=False) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise CertificateAway(f"Amazon SNS answers {answer.status_code} for its certificate")
                found = b""
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > MAX_BYTES:
                        raise CertificateAway("what lies in the place of a certificate of Amazon SNS is none")
        except httpx.HTTPError as error:
            raise CertificateAway(f"the certificate of Amazon SNS cannot be had ({type(error).__name__})") from None
        with self._lock:
            if len(self._held) >= MOST:
                self._held.clear()
            self._held[address] = found
        return found
