"""Posting to addresses that others chose, without becoming a way into the network that the node stands in.

An address is checked by name when it is given, and by number whenever it is connected to: the connection goes to the
very number that was checked, so a name that leads elsewhere by then gains nothing. No redirect is followed, no proxy of
the environment asked. httpcore is what httpx itself posts with; taken directly, it lets the connection be made here.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import httpcore

MOST_OF_ANSWER, REST_S = 64_000, 1.0
"""So many bytes of an answer are read, for so long, so that the connection can be used again; nothing is kept."""
IDLE_S = 30.0
_NAT64 = IPv6Network("64:ff9b::/96")
_SPECIAL = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocols' own (RFC 6890), all of it: metadata of some clouds too
            "192.88.99.0/24",  # relays of 6to4, taken back (RFC 7526)
            "168.63.129.16/32",  # what every machine of Azure reaches of the host that it runs on
            "64:ff9b:1::/48",  # translation inside a network (RFC 8215)
            "::ffff:0:0:0/96",  # IPv4, translated (RFC 2765)
            "3fff::/20",  # documentation (RFC 9637)
            "5f00::/16",  # segment routing (RFC 9602)
        ),
    )
)
"""Not the internet's own either; what Python's tables say of them depends on its version."""

Address = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """Nothing is posted there; one sentence with the way out."""


class NotAnswered(Exception):
    """No answer came; the message is a word for why, without anything that the other side said."""


class Outbound:
    """Connections of one event loop."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """`context` takes the place of the system's authorities."""
        context = context or httpcore.default_ssl_context()
        self._public = _pool(context, Guarded())
        self._any = _pool(context, Guarded(allow_private=True))

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float, *, allow_private: bool
    ) -> int:
        """The status of the answer. Raises NotAnswered, also when the address must not be connected to."""
        pool = self._any if allow_private else self._public
        named = [*((name.encode(), value.encode()) for name, value in headers.items()), (b"Host", _host(url))]
        try:
            check(url, allow_private=allow_private)
            async with (
                asyncio.timeout(timeout_s),
                pool.stream("POST", _split(url), headers=named, content=body) as answer,
            ):
                with suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):  # the status has said it
                    async with asyncio.timeout(REST_S):
                        await _read(answer)
                return int(answer.status)
        except AddressRefused:
            raise NotAnswered("address refused") from None
        except TimeoutError:
            raise NotAnswered("timed out") from None
        except httpcore.ConnectError as error:
            why = "certificate refused" if isinstance(error.__cause__, ssl.SSLError) else "not connected"
            raise NotAnswered(why) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise NotAnswered(f"broken off ({type(error).__name__})") from None

    async def close(self) -> None:
        """Closes every connection."""
        await self._public.aclose()
        await self._any.aclose()


class Guarded(httpcore.AnyIOBackend):
    """Connects to public addresses only, unless others are allowed."""

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the first number of the host that can be reached. Raises AddressRefused when one must not be."""
        numbers = await _looked_up(host, port)
        refused = None if self._allow_private else next((n for n in numbers if not is_public(n)), None)
        if refused is not None:
            raise AddressRefused(_private(host))
        for number in numbers[:-1]:
            try:
                return await super().connect_tcp(str(number), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await super().connect_tcp(str(numbers[-1]), port, timeout, local_address, socket_options)


def _pool(context: ssl.SSLContext, backend: Guarded) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=None,  # or those who do not answer would hold up all others
        keepalive_expiry=IDLE_S,
        max_keepalive_connections=20,
        network_backend=backend,
    )


async def _read(answer: httpcore.Response) -> None:
    read = 0
    async for piece in answer.aiter_stream():
        read += len(piece)
        if read > MOST_OF_ANSWER:
            break


async def _looked_up(host: str, port: int) -> list[Address]:
    """`resolved`, on a thread of its own: a resolver that hangs keeps nobody else waiting, nor the process from ending.
    Whoever waits may give up, and leaves the thread to the resolver's own time limit."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address]] = loop.create_future()

    def tell(numbers: list[Address], error: Exception | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(numbers)
        else:
            found.set_exception(error)

    def ask() -> None:
        numbers, failed = list[Address](), None
        try:
            numbers = resolved(host, port)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, numbers, failed)

    threading.Thread(target=ask, name="rapport-resolving", daemon=True).start()
    return await found


def check(url: str, *, allow_private: bool) -> None:
    """Whether an address is one to post to at all, by its text. Raises AddressRefused."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise AddressRefused("that is no address; write https://host/path") from None
    if not host or parts.fragment or not url.isascii() or not url.isprintable() or " " in url or port == 0:
        raise AddressRefused("that is no address; write https://host/path, in ASCII and without a fragment")
    try:
        host.encode("idna")
    except UnicodeError:
        raise AddressRefused("that is no address: a part of a host's name has 1 to 63 characters") from None
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("an address has no login in it: deliveries are proved by their signature")
    if parts.scheme == "http" and allow_private and _is_loopback(host):
        return
    if parts.scheme != "https":
        raise AddressRefused("write an https:// address; http:// is for this machine's own, with --allow-private")


def check_where(url: str, *, allow_private: bool) -> None:
    """`check`, and that the host is known and, unless they are allowed, not at a private number. Asks the resolver."""
    check(url, allow_private=allow_private)
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        numbers = resolved(host, parts.port or 443)
    except OSError:
        raise AddressRefused(f"the name {host} is not known here; give one that is") from None
    if not allow_private and not all(map(is_public, numbers)):
        raise AddressRefused(_private(host))


def resolved(host: str, port: int) -> list[Address]:
    """The numbers of a host, in the resolver's order. Raises OSError, also for what can be no host's name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("not the name of a host") from error
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def is_public(number: Address) -> bool:
    """Whether it is one of the internet's own, also by what stands behind a translated one."""
    if isinstance(number, IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour
        if number in _NAT64:
            inner = IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if number.teredo is not None or number.is_site_local:
            return False
    if any(number in network for network in _SPECIAL):
        return False
    return number.is_global and not number.is_multicast and not number.is_reserved and not number.is_unspecified


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split(url: str) -> httpcore.URL:
    """As `check` reads it. httpcore's own way cuts off what stands behind a semicolon in the path."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return httpcore.URL(
        scheme=parts.scheme.encode(), host=(parts.hostname or "").encode(), port=parts.port, target=target.encode()
    )


def _host(url: str) -> bytes:
    return urlsplit(url).netloc.encode()


def _private(host: str) -> str:
    return (
        f"{host} is at an address of a private network, and whoever chose it could reach what is not theirs; "
        "--allow-private takes it all the same"
    )
