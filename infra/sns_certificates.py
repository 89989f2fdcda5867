"""Certificates of Amazon SNS, fetched once each. Whoever asks has made sure that the address is Amazon's."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import httpx
from cryptography import x509
from eventsourcing.persistence import OperationalError

TIMEOUT_S = 5.0
MOST = 32
MAX_BYTES = 20_000
AT_ONCE = 2
"""Fetches at a time. There are a handful of certificates in years, and anybody can make up their addresses."""
REFUSED_S = 10.0
"""For so long an address that had none is not asked again. By default SNS sends again after 20 s."""
MOST_NOTED = 1_000
"""Addresses that are remembered as refused, and as wanted."""


class CertificateAway(OperationalError):
    """The certificate could not be had just now. Nobody can tell whether that will pass, so SNS is to send it again."""


class SnsCertificates:
    """A cache over HTTPS. It follows no redirect: the address that was looked at is the one that answers.

    While more are asked for than can be fetched, that which was asked for most goes first, by whoever asks next. The
    one that our deliveries name is named by each of them; many made-up ones are not named as often, each.
    """

    def __init__(
        self,
        client: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=TIMEOUT_S),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[str, bytes] = {}
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._wanted: dict[str, int] = {}
        """How often each was asked for since it was last fetched, or a little more."""
        self._fetching: set[str] = set()
        self._lock = Lock()

    def __call__(self, address: str) -> bytes:
        """The certificate in PEM form. Raises CertificateAway."""
        with self._lock:
            if (held := self._held.get(address)) is not None:
                return held
            if self._clock() - self._refused.get(address, float("-inf")) < REFUSED_S:
                raise CertificateAway("Amazon SNS had no such certificate a moment ago")
            next_ = self._next(address)
            if next_ is None:
                raise CertificateAway("other certificates of Amazon SNS are being fetched")
            self._fetching.add(next_)
        try:
            self._fetch(next_)
        finally:
            with self._lock:
                self._fetching.discard(next_)
        if (found := self._held.get(address)) is None:
            raise CertificateAway("other certificates of Amazon SNS were asked for before")
        return found

    def _next(self, address: str) -> str | None:
        """Which is to be fetched now that `address` is asked for; None while none can be."""
        if address not in self._fetching:
            self._note_wanted(address)
        if len(self._fetching) >= AT_ONCE or not self._wanted:
            return None
        most = max(self._wanted, key=lambda one: (self._wanted[one], one == address))
        del self._wanted[most]
        return most

    def _note_wanted(self, address: str) -> None:
        """One that there is no room for takes the place of the one asked for least, and its count: so none that is
        asked for often is left out (Metwally et al., "Efficient computation of frequent and top-k elements", 2005)."""
        count = self._wanted.get(address, 0)
        if not count and len(self._wanted) >= MOST_NOTED:
            count = self._wanted.pop(min(self._wanted, key=self._wanted.__getitem__))
        self._wanted[address] = count + 1

    def _fetch(self, address: str) -> None:
        """Holds it. Raises CertificateAway."""
        try:
            found = self._fetched(address)
        except CertificateAway:
            with self._lock:
                self._refused[address] = self._clock()
                self._refused.move_to_end(address)
                if len(self._refused) > MOST_NOTED:
                    self._refused.popitem(last=False)
            raise
        with self._lock:
            if len(self._held) >= MOST:
                self._held.clear()
            self._held[address] = found

    def _fetched(self, address: str) -> bytes:
        begun = self._clock()
        try:
            with self._client() as client, client.stream("GET", address, follow_redirects=False) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise CertificateAway(f"Amazon SNS answers {answer.status_code} for its certificate")
                found = b""
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > MAX_BYTES or self._clock() - begun > TIMEOUT_S:
                        raise CertificateAway("the certificate of Amazon SNS is too long, or too long in coming")
        except httpx.HTTPError as error:
            raise CertificateAway(f"the certificate of Amazon SNS cannot be had ({type(error).__name__})") from None
        try:
            x509.load_pem_x509_certificate(found)
        except (ValueError, x509.InvalidVersion):
            raise CertificateAway("what lies in the place of a certificate of Amazon SNS is none") from None
        return found
