"""Posting to addresses that others chose: what is connected to is what was checked."""

from __future__ import annotations

import asyncio
import socket
import time
from threading import Event
from typing import Any

import pytest

from infra import outbound
from infra.outbound import AddressRefused, NotAnswered, Outbound, check_where, is_public, resolved
from tests.receiver import receiver


def posted(url: str, *, allow_private: bool = False) -> int:
    async def once() -> int:
        out = Outbound()
        try:
            return await out.post(url, {"x": "y"}, b"{}", 2.0, allow_private=allow_private)
        finally:
            await out.close()

    return asyncio.run(once())


@pytest.mark.parametrize("number", ["8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(number: str) -> None:
    assert is_public(outbound.ip_address(number))


@pytest.mark.parametrize(
    "number",
    [
        *("0.0.0.1", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254", "172.16.0.1", "192.0.0.1"),
        *("192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "fc00::1", "fe80::1"),
        *("fec0::1", "ff02::1", "192.0.0.9", "192.0.0.170", "192.88.99.1", "168.63.129.16", "3fff::1", "5f00::1"),
        *("64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1", "::ffff:168.63.129.16", "2002:a83f:8110::"),
    ],
)
def test_all_others_are_not_however_they_are_written(number: str) -> None:
    assert not is_public(outbound.ip_address(number))


@pytest.mark.parametrize("host", ["a..b", ".x", "a" * 70, f"{'a' * 70}.com", f"{'a' * 64}.", "."])
def test_what_can_be_no_hosts_name_is_refused_in_a_sentence(host: str) -> None:
    with pytest.raises(AddressRefused, match="no address"):
        check_where(f"https://{host}/", allow_private=False)
    with pytest.raises(NotAnswered, match="address refused"):
        posted(f"https://{host}/", allow_private=True)
    with pytest.raises(OSError, match=r"\w"):
        resolved(host, 443)


def test_a_name_that_leads_elsewhere_after_it_was_checked_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is given, loopback when it is connected to."""
    numbers = iter(["8.8.8.8", "127.0.0.1"])

    def answers(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (next(numbers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    check_where("https://rebinds.example/x", allow_private=False)
    with pytest.raises(NotAnswered, match="address refused"):
        posted("https://rebinds.example/x")


def test_a_name_with_one_private_number_among_others_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (number, 443)) for number in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(AddressRefused, match="private network"):
        check_where("https://mixed.example/x", allow_private=False)
    with pytest.raises(NotAnswered, match="address refused"):
        posted("https://mixed.example/x")


def test_the_number_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """The name is asked for once: whatever it would lead to a moment later does not matter."""
    asked = []
    real = socket.getaddrinfo
    with receiver() as there, pytest.MonkeyPatch.context() as patch:
        url = there.answers("/x", 200).replace("127.0.0.1", "localhost")

        def counted(host: Any, *rest: Any, **more: Any) -> Any:
            asked.append(host)
            return real(host, *rest, **more)

        patch.setattr(socket, "getaddrinfo", counted)
        assert posted(url, allow_private=True) == 200
    assert asked.count("localhost") == 1
    assert there.at("/x")[0].headers["host"] == f"localhost:{there.port}"


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver() as there:
        assert posted(there.answers("/x", 200), allow_private=True) == 200


def test_whoever_does_not_answer_is_named_by_a_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NotAnswered, match="not connected"):
        posted(f"http://127.0.0.1:{port}/", allow_private=True)
    with receiver() as there, pytest.raises(NotAnswered, match=r"broken off|certificate|not connected"):
        posted(there.answers("/x", 200).replace("http:", "https:"), allow_private=True)
    assert [str(number) for number in resolved("127.0.0.1", 1)] == ["127.0.0.1"]


def test_the_status_is_the_answer_whatever_becomes_of_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not end is not waited for: the message was taken, and would be posted again for nothing."""
    monkeypatch.setattr(outbound, "REST_S", 0.2)
    with receiver() as there:
        url = there.answers("/x", (200, {"Transfer-Encoding": "chunked"}))
        assert posted(url, allow_private=True) == 200
        assert len(there.at("/x")) == 1


def test_the_whole_address_is_posted_to() -> None:
    with receiver() as there:
        for path in ("/hook;tenant=7", "/hook;a=1/b;c?d=e;f&g=%20", "/?x=1"):
            assert posted(there.answers(path, 200), allow_private=True) == 200
            assert len(there.at(path)) == 1
        assert posted(there.answers("/", 204).removesuffix("/"), allow_private=True) == 204


def test_those_who_do_not_answer_hold_up_nobody_else() -> None:
    """More of them than a pool of connections usually has."""

    async def all_at_once(urls: list[str]) -> list[Any]:
        out = Outbound()
        posts = [out.post(url, {}, b"{}", 1.5, allow_private=True) for url in urls]
        found = await asyncio.gather(*posts, return_exceptions=True)
        await out.close()
        return found

    with receiver() as there:
        hung = [there.answers(f"/hung-{n}", (200, 5.0)) for n in range(30)]
        *slow, free = asyncio.run(all_at_once([*hung, there.answers("/free", 200)]))
    assert free == 200
    assert [str(one) for one in slow] == ["timed out"] * 30


def test_a_resolver_that_hangs_holds_up_nobody_else_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than there are threads for such things, each without an answer for as long as the test lasts."""
    real, over = socket.getaddrinfo, Event()

    def hangs(host: Any, *rest: Any, **more: Any) -> Any:
        if "hangs" in str(host):
            over.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *rest, **more)

    async def all_at_once(urls: list[str]) -> list[Any]:
        out = Outbound()
        found = await asyncio.gather(
            *(out.post(url, {}, b"{}", 1.5, allow_private=True) for url in urls), return_exceptions=True
        )
        await out.close()
        return found

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    began = time.monotonic()
    with receiver() as there:
        names = [f"https://hangs-{n}.example/" for n in range(40)]
        *hung, free = asyncio.run(all_at_once([*names, there.answers("/free", 200).replace("127.0.0.1", "localhost")]))
    took_s = time.monotonic() - began
    over.set()
    assert free == 200
    assert [str(one) for one in hung] == ["timed out"] * 40
    assert took_s < 20
