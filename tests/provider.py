"""An identity provider: a real HTTP server with keys of its own, that can change them, lie, and fall silent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "rapport"

MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
AS_JWK = {"RS256": RSAAlgorithm.to_jwk, "ES256": ECAlgorithm.to_jwk, "EdDSA": OKPAlgorithm.to_jwk}


class Provider:
    """`document` is what it says of itself, `jwks` its keys as it hands them out; `asked` counts who wanted them.

    While it `trickles`, its answers begin with one header after another; `begun` counts those.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.document: dict[str, Any] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.jwks: list[dict[str, Any]] = []
        self.private: dict[str, tuple[str, Any]] = {}
        self.answers = True
        self.trickles = False
        self.begun = 0
        self.asked = 0
        for algorithm in MAKE:
            self.add(algorithm, algorithm.lower())

    def add(self, algorithm: str, key_id: str) -> None:
        """One key more."""
        key: Any = MAKE[algorithm]()
        self.private[key_id] = algorithm, key
        shown = AS_JWK[algorithm](key.public_key(), as_dict=True)
        self.jwks.append(shown | {"kid": key_id, "use": "sig", "alg": algorithm})

    def rotate(self, algorithm: str, key_id: str) -> None:
        """A new key, and the others are gone."""
        self.jwks.clear()
        self.add(algorithm, key_id)

    def token(
        self, key_id: str = "es256", without: str = "", headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Signed with this key; claims beside those that make it good, or in their place."""
        now = int(time.time())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "u-17", "iat": now, "nbf": now, "exp": now + 600}
        payload = {name: value for name, value in (good | claims).items() if name != without}
        algorithm, key = self.private[key_id]
        return jwt.encode(payload, key, algorithm, headers={"kid": key_id} | (headers or {}))


@contextmanager
def provider() -> Iterator[Provider]:
    """It answers on a port of loopback until the block ends."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not found.answers:
                self.send_error(500)
                return
            if self.path == "/keys":
                found.asked += 1
            body = json.dumps({"keys": found.jwks} if self.path == "/keys" else found.document).encode()
            if found.trickles:
                self.trickle()
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def trickle(self) -> None:
            found.begun += 1
            self.send_response(200)
            while found.trickles:
                self.send_header("X-Slow", "yes")
                self.flush_headers()
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        found = Provider(f"http://127.0.0.1:{server.server_address[1]}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
