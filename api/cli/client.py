"""How a command reaches the node of its data folder: the running one, else one of its own for as long as it needs."""

import errno
import json
import socket
import ssl
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from api.failures import NodeError
from api.http.roles import Role, Tokens
from infra.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from api.node import Node

TIMEOUT_S = 600.0
START_S = 30.0


NOT_FOUND, TOO_MANY, UNAVAILABLE = 404, 429, 503
NOTHING_DONE = (
    *(b"problem:views-reopening", b"problem:queries-busy", b"problem:snapshots-busy"),
    b"nothing of this request was recorded",
)
TRIES = 30


class RequestRefused(Exception):
    """The node refused; the message is its sentence, `problem` its document (RFC 9457) if it sent one."""

    def __init__(self, said: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(said)
        self.problem = problem


class Client:
    """The HTTP API, for commands. Reads see everything the ledger held when they were sent."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def get(self, path: str, **params: Any) -> Any:
        """A read, after the views have caught up. Raises RequestRefused."""
        return self._send("GET", path, params=self._params(params) | {"min_seq": self.last_seq()})

    def all_pages(self, path: str, *rows: str, of_views: bool = True, **params: Any) -> Any:
        """A list with the `rows` of all its pages, all as of one moment if it has one. Raises RequestRefused."""
        read = self.get if of_views else partial(self.send, "GET")
        found = page = read(path, **params)
        then = {"as_of": found["as_of"]} if "as_of" in found else {}
        while page["next"] is not None:
            page = read(path, **params | then | {"after": page["next"]})
            for name in rows:
                found[name] += page[name]
        return found | {"next": None}

    def send(self, method: str, path: str, json: Any = None, **params: Any) -> Any:
        """A write, or a read of what needs no views. Raises RequestRefused."""
        return self._send(method, path, json=json, params=self._params(params))

    def ndjson(self, documents: list[bytes], *, history: bool) -> dict[str, Any]:
        """Records `documents`; the summary with an outcome for each. Raises RequestRefused."""
        answer: dict[str, Any] = self._send(
            "POST",
            "/v1/interactions",
            params={"history": history},
            content=b"\n".join(documents),
            headers={"Content-Type": "application/x-ndjson"},
        )
        return answer

    @contextmanager
    def stream(
        self, method: str, path: str, token: str | None = None, accept: str = "*/*", json: Any = None, **params: Any
    ) -> Iterator[httpx.Response]:
        """An answer that is taken in as it comes, after the views have caught up. Raises RequestRefused."""
        headers = {"Accept": accept} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        asked = self._params(params) | {"min_seq": self.last_seq()}
        try:
            with self._http.stream(method, path, params=asked, json=json, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response
        except httpx.TransportError as error:
            raise _stopped(error) from None

    def text(self, path: str) -> str:
        """The answer of a route that gives plain text."""
        return self._request("GET", path).text

    def lines(self, path: str, method: str = "GET", **params: Any) -> Generator[dict[str, Any]]:
        """The documents of an NDJSON answer as they come. Closed early, the node is told. Raises RequestRefused."""
        try:
            with self._http.stream(method, path, params=self._params(params)) as response:
                if not response.is_success:
                    response.read()
                    if response.status_code == NOT_FOUND and _is_unknown_route(response):
                        raise RequestRefused("the node that runs is of another version: stop it, and start this one")
                    raise _refusal(response)
                for line in response.iter_lines():
                    yield json.loads(line)
        except httpx.TransportError as error:
            raise _stopped(error) from None

    def unready(self) -> list[str]:
        """Why the node cannot do its work; it says so whatever is away."""
        try:
            reasons: list[str] = self._http.get("/readyz").json()["reasons"]
        except httpx.TransportError as error:
            raise _stopped(error) from None
        return reasons

    def last_seq(self) -> int:
        """The ledger's last position."""
        seq: int = self._send("GET", "/v1/status")["ledger"]["last_seq"]
        return seq

    def wait_for_views(self, progress: Any = None) -> None:
        """Returns when the views hold what the ledger holds now; calls `progress(done, total)` meanwhile."""
        target = self.last_seq()
        while True:
            status = self._send("GET", "/v1/status")
            if status["failing"]:  # far behind may they well be
                raise RequestRefused(f"the node is not ready: {'; '.join(status['reasons'])}")
            done = status["views"]["checkpoint"]
            if progress is not None:
                progress(done, target)
            if done >= target:
                return
            time.sleep(0.1)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, path, **options).json()

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        for again in reversed(range(TRIES)):
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                raise _stopped(error) from None
            if response.is_success:
                return response
            if not again or not _is_for_later(response):
                break
            time.sleep(float(response.headers.get("Retry-After", "1")))
        raise _refusal(response)

    @staticmethod
    def _params(params: dict[str, Any]) -> dict[str, Any]:
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in params.items() if v is not None}


def _stopped(error: httpx.TransportError) -> RequestRefused:
    return RequestRefused(f"the node stopped answering ({type(error).__name__}); run the command again")


def _is_for_later(response: httpx.Response) -> bool:
    """Whether nothing was done: the views' file is just being opened, or too much is under way."""
    if response.status_code == TOO_MANY:
        return True
    return response.status_code == UNAVAILABLE and any(said in response.content for said in NOTHING_DONE)


def _is_unknown_route(response: httpx.Response) -> bool:
    """Whether it is the way that is unknown, rather than what was asked for on it."""
    try:
        return bool(response.json()["type"] == "urn:rapport:problem:http")
    except (ValueError, KeyError, TypeError):
        return True


def _refusal(response: httpx.Response) -> RequestRefused:
    try:
        problem = response.json()
        return RequestRefused(str(problem["detail"]), problem)
    except (ValueError, KeyError, TypeError):
        return RequestRefused(f"the node answered {response.status_code}")


@contextmanager
def running(settings: Settings) -> Iterator[Client | None]:
    """The client of the node that serves `settings.data`; None when none runs."""
    if (url := _running(settings)) is None:
        yield None
        return
    with client_of(url, settings) as http:
        yield Client(http)


@contextmanager
def connect(settings: Settings) -> Iterator[Client]:
    """The client of the node that serves `settings.data`; starts one when none runs."""
    with running(settings) as client:
        if client is not None:
            yield client
            return
    from api.node import Node

    own = settings.model_copy(update={"host": "127.0.0.1", "port": 0, "public_url": settings.feed_url})
    with Node(own) as node, served(node) as url, client_of(url, own) as http:
        yield Client(http)


@contextmanager
def served(node: "Node") -> Iterator[str]:
    """The URL at which `node` answers, served on a thread of this process."""
    from api.http.serving import Server

    listener = bind(node.settings)
    server = Server(server_config(node))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="rapport-http")
    thread.start()
    url = address(listener)
    withdraw = node.announce(url)
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise NodeError("the HTTP server did not start; see the log for the reason")
            time.sleep(0.005)
        yield url
    finally:
        withdraw()
        server.should_exit = True
        thread.join()
        listener.close()


def server_config(node: "Node") -> "uvicorn.Config":
    """How every node serves: no access log, for paths hold identifiers of people; what it logs, goes through ours."""
    import uvicorn

    from api.http.app import create_app

    return uvicorn.Config(
        create_app(node),
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=10,
        proxy_headers=False,  # anybody can write them, and addresses count for those who are refused
    )


def bind(settings: Settings) -> socket.socket:
    """A listening socket at the address in `settings`. Raises NodeError when the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Without, every answer waits 40 ms for the acknowledgement of its header.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise NodeError(f"port {settings.port} on {settings.host} {reason}; choose another with --port") from None
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def client_of(url: str, settings: Settings, role: Role | None = None) -> httpx.Client:
    """A client of the node of this folder, with the token of `role`; of the role that is set if absent.

    Whoever can read the folder's tokens may do everything in it anyhow. Raises NodeError when they are of no use.
    """
    token = Tokens.of(settings.tokens_file)[role or Role(settings.role)]
    return _client(url, TIMEOUT_S, {"Authorization": f"Bearer {token}"})


def _client(url: str, timeout_s: float, headers: dict[str, str] | None = None) -> httpx.Client:
    """To a node, which speaks plain HTTP: no authorities are loaded, which takes 40 ms, and no proxy is asked."""
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(base_url=url, timeout=timeout_s, trust_env=False, headers=headers, verify=nobody)


def _running(settings: Settings) -> str | None:
    """Where a running node of this folder answers, if there is one. Raises NodeError when it is there and does not."""
    try:
        note = json.loads(settings.node_file.read_text("utf-8"))
        url: str = note["url"]
        with _client(url, 5.0) as http:
            answer = http.get("/healthz").raise_for_status().json()
    except httpx.TimeoutException:
        raise NodeError(
            f"the node of {settings.data} (process {note.get('pid')}) does not answer at {url}; "
            "wait for it, or end that process and start again"
        ) from None
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return url if answer.get("instance") == note.get("instance") else None
