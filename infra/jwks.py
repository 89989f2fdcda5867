"""The public keys of an identity provider (RFC 7517): fetched, kept, and fetched again when it has new ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import Any

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

FRESH_S = 600.0
"""Keys older than this are fetched again by whoever needs one."""
KEEP_S = 3600.0
"""For so long after they were fetched keys go on while the provider does not answer: a token lives about as long."""
AGAIN_S = 30.0
"""How soon an unknown key id makes us ask again: anybody can make one up."""
WITHIN_S = 5.0
"""So long is waited for a fetch, however slowly the provider or a resolver answers; so long it is left alone
afterwards."""
WAIT_S, MOST_WAITING = 1.0, 4
"""For so long, and so many, wait for keys that another thread fetches while there are none: tokens that make us want
them can be made up by anybody."""
MAX_BYTES = 500_000
MIN_RSA_BITS = 2048

Key = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

log = structlog.get_logger()


class KeysUnavailable(Exception):
    """The provider's keys cannot be had, and those at hand are too old."""


class KeySet:
    """The keys that `url` hands out, by algorithm and id. Any number of threads may ask."""

    def __init__(
        self, url: Callable[[httpx.AsyncClient], Awaitable[str]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`url` says where they are, by asking the provider if need be; it may raise as httpx does, or ValueError."""
        self._url = url
        self._clock = clock
        self._lock = Lock()
        self._idle = Event()
        """Set while nobody fetches them."""
        self._idle.set()
        self._waiting = BoundedSemaphore(MOST_WAITING)
        self._keys: Mapping[tuple[str, str | None], Key] = {}
        self._fetched_at = self._tried_at = float("-inf")

    def find(self, algorithm: str, key_id: str | None) -> Key | None:
        """The key for tokens signed so; without an id, the only one of its algorithm. None when there is none.

        Raises KeysUnavailable. Not for a thread that runs an event loop.
        """
        self._refresh(FRESH_S)
        if (found := self._look(algorithm, key_id)) is None and self._age(self._tried_at) > AGAIN_S:
            self._refresh(0.0)
            found = self._look(algorithm, key_id)
        if self._is_too_old():
            raise KeysUnavailable("the identity provider's keys cannot be fetched; try again shortly")
        return found

    def _look(self, algorithm: str, key_id: str | None) -> Key | None:
        keys = self._keys
        if key_id is not None:
            return keys.get((algorithm, key_id))
        fitting = [key for (of, _), key in keys.items() if of == algorithm]
        return fitting[0] if len(fitting) == 1 else None

    def _age(self, since: float) -> float:
        return self._clock() - since

    def _is_too_old(self) -> bool:
        return self._age(self._fetched_at) > KEEP_S

    def _refresh(self, older_than_s: float) -> None:
        """Has them fetched when they are older than that, and waits for it. Of many who need it one does; of the others
        those who have none wait a little."""
        with self._lock:
            if self._age(self._fetched_at) <= older_than_s:
                return
            begins = self._idle.is_set()
            if begins:
                if self._age(self._tried_at) <= (WITHIN_S if self._is_too_old() else AGAIN_S):
                    return
                self._begin()
        if begins:
            self._idle.wait(WITHIN_S)
        elif self._is_too_old() and self._waiting.acquire(blocking=False):
            try:
                self._idle.wait(WAIT_S)
            finally:
                self._waiting.release()

    def _begin(self) -> None:
        """Fetches on a thread of its own: one that hangs, in a resolver say, holds nobody up, and no other is begun
        meanwhile."""
        self._idle.clear()
        self._tried_at = self._clock()
        try:
            Thread(target=self._run, name="rapport-jwks", daemon=True).start()
        except RuntimeError as error:  # no more threads are to be had
            self._end(error)

    def _run(self) -> None:
        try:
            self._keys, self._fetched_at = asyncio.run(self._fetch()), self._clock()
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody is to wait for it, and it is tried again
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if error is not None:
            log.warning("the identity provider's keys cannot be fetched", reason=type(error).__name__)
        self._tried_at = self._clock()
        self._idle.set()

    async def _fetch(self) -> dict[tuple[str, str | None], Key]:
        async with asyncio.timeout(WITHIN_S), httpx.AsyncClient(timeout=WITHIN_S, follow_redirects=False) as http:
            document = await document_at(http, await self._url(http))
        usable = (_usable(key) for key in document["keys"] if isinstance(key, dict))
        found = dict(filter(None, usable))
        if not found:
            raise ValueError("none of these keys is of use")
        return found


async def document_at(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises as httpx does, or ValueError."""
    async with http.stream("GET", url) as answer:
        answer.raise_for_status()
        body = b""
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise ValueError("too long an answer")
    document = httpx.Response(200, content=body).json()
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _usable(jwk: dict[str, Any]) -> tuple[tuple[str, str | None], Key] | None:
    """A key to verify signatures with, under the one algorithm that it is for; None for any other."""
    if jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        found = PyJWK(jwk).key
    except (PyJWTError, ValueError, KeyError, TypeError):
        return None
    match found:
        case RSAPublicKey() if found.key_size >= MIN_RSA_BITS:
            algorithm = "RS256"
        case EllipticCurvePublicKey() if found.curve.name == "secp256r1":
            algorithm = "ES256"
        case Ed25519PublicKey():
            algorithm = "EdDSA"
        case _:
            return None
    key_id = jwk.get("kid")
    if jwk.get("alg", algorithm) != algorithm or not isinstance(key_id, str | None):
        return None
    return (algorithm, key_id), found
