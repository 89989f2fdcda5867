"""Ways in: TLS, logins of every kind, and what is said when they do not fit. Real servers, keys and certificates."""

from __future__ import annotations

import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eventsourcing.persistence import OperationalError, StoredEvent
from eventsourcing.utils import Environment
from pydantic import SecretStr

from api.node import Node
from infra.jetstream import Connection, Factory, JetStreamApplicationRecorder, declare_stream
from infra.jetstream.access import Access, AccessError, access
from infra.jetstream.nkey import Nkey
from infra.settings import Settings
from tests.authorities import USER, Authority, Operator, new_nkey, seed_of
from tests.cluster import Process, await_until, free_ports
from tests.servers import shared_server

PASSWORD = "Hun:ter/2@,#%"  # noqa: S105 - every character that means something in an address
IN_URL = "Hun%3Ater%2F2%40%2C%23%25"
TOKEN = "s3cret"  # noqa: S105
numbers = itertools.count(1)


@contextmanager
def server(folder: Path, config: str) -> Iterator[int]:
    """A nats-server with JetStream and this configuration; its port."""
    (port,) = free_ports(1)
    path = folder / f"server-{next(numbers)}.conf"
    store = json.dumps(str(path.with_suffix("")))
    path.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: {store}, sync_interval: always }}\n{config}\n'
    )
    with Process(path, port):
        yield port


def works(way: Access) -> None:
    """Everything a ledger does over its connections, the quick ones beside the shared one included."""
    with Connection(way, connect_timeout_s=30.0) as connection:
        recorder = JetStreamApplicationRecorder(connection, declare_stream(connection))
        aggregate = f"candidate-{os.urandom(16).hex()}"
        stored = [StoredEvent(aggregate, version, "acted", b"{}") for version in (1, 2, 3)]
        recorder.insert_events(stored[:1])
        last_seq = (recorder.insert_events(stored[1:]) or [])[-1]
        assert recorder.select_events(aggregate) == stored
        with recorder.subscribe(last_seq - 1) as subscription:
            assert next(subscription).id == last_seq
        with connection.lanes.lane():
            pass  # entered: logged in a second time


def refusal(way: Access) -> str:
    with pytest.raises(OperationalError) as caught:
        Connection(way, connect_timeout_s=1.0)
    assert PASSWORD not in str(caught.value)
    assert IN_URL not in str(caught.value)
    return str(caught.value)


def test_user_and_password_may_hold_any_character(tmp_path: Path) -> None:
    with server(tmp_path, f"authorization {{ user: app, password: {json.dumps(PASSWORD)} }}") as port:
        works(access(f"nats://app:{IN_URL}@127.0.0.1:{port}"))
        assert "refuses the login" in refusal(access(f"nats://app:{IN_URL}x@127.0.0.1:{port}"))


def test_a_token_is_given_in_the_address_or_beside_it(tmp_path: Path) -> None:
    with server(tmp_path, f"authorization {{ token: {TOKEN} }}") as port:
        works(access(f"nats://{TOKEN}@127.0.0.1:{port}"))
        works(access(f"nats://127.0.0.1:{port}", token=TOKEN))
        assert "refuses the login" in refusal(access(f"nats://127.0.0.1:{port}", token=TOKEN[1:]))


def test_an_nkey_signs_what_each_connection_is_asked_to_sign(tmp_path: Path) -> None:
    pair, other = new_nkey(USER), new_nkey(USER)
    seed = tmp_path / "user.nk"
    seed.write_text(seed_of(pair) + "\n")
    assert Nkey.read(seed.read_text()).public == pair.public
    with server(tmp_path, f"authorization {{ users: [ {{ nkey: {pair.public} }} ] }}") as port:
        works(access(f"nats://127.0.0.1:{port}", nkey=seed))
        seed.write_text(seed_of(other))
        assert "refuses the login" in refusal(access(f"nats://127.0.0.1:{port}", nkey=seed))


def test_credentials_of_an_operator_let_a_node_in_and_ask_the_system_account(tmp_path: Path) -> None:
    """JWTs as NATS's own tools make them; the settings as a node reads them."""
    operator = Operator()
    mine, system = operator.credentials(tmp_path / "app.creds"), operator.credentials(tmp_path / "sys.creds", "system")
    with server(tmp_path, operator.config()) as port:
        url = f"nats://127.0.0.1:{port}"
        settings = Settings(data=tmp_path / "node", nats_url=url, nats_credentials=mine, nats_system_credentials=system)
        with Node(settings) as node:
            assert node.status()["ledger"]["sync"].startswith("always, asserted on 1 server at ")
        works(access(url, credentials=mine))
        stranger = Operator().credentials(tmp_path / "stranger.creds")
        assert "refuses the login" in refusal(access(url, credentials=stranger))


def test_credentials_are_read_again_when_the_server_ends_a_login_that_has_expired(tmp_path: Path) -> None:
    operator = Operator()
    path = operator.credentials(tmp_path / "app.creds", valid_s=2)
    with (
        server(tmp_path, operator.config()) as port,
        Connection(access(f"nats://127.0.0.1:{port}", credentials=path)) as connection,
    ):
        operator.credentials(path)
        await_until(lambda: connection.client.stats["reconnects"] > 0, "the login to expire")
        declare_stream(connection)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def tls(authority: Authority, *hosts: str, verify: bool = False) -> str:
    cert, key = authority.issue(f"server{next(numbers)}", *hosts)
    ca = json.dumps(str(authority.ca))
    files = f"cert_file: {json.dumps(str(cert))}, key_file: {json.dumps(str(key))}, ca_file: {ca}"
    return f"tls {{ {files}, verify: {'true' if verify else 'false'} }}"


def test_tls_with_a_certificate_on_either_side(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.issue("node")
    both = tmp_path / "both.pem"
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    with server(tmp_path, tls(authority, "127.0.0.1", verify=True)) as port:
        for url in (f"tls://127.0.0.1:{port}", f"nats://127.0.0.1:{port}"):
            works(access(url, ca=authority.ca, cert=cert, key=key))
        works(access(f"tls://127.0.0.1:{port}", ca=authority.ca, cert=both))
        assert f"127.0.0.1:{port}" in refusal(access(f"tls://127.0.0.1:{port}", ca=authority.ca))


def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path / "other")
    with server(tmp_path, tls(authority, "127.0.0.1")) as port:
        for way in (access(f"tls://127.0.0.1:{port}"), access(f"tls://127.0.0.1:{port}", ca=other.ca)):
            assert "there is no TLS to be had with the NATS server" in refusal(way)


def test_a_certificate_must_name_the_host_or_the_name_given(tmp_path: Path, authority: Authority) -> None:
    with server(tmp_path, tls(authority, "ledger.example")) as port:
        works(access(f"tls://127.0.0.1:{port}", ca=authority.ca, server_name="ledger.example"))
        assert "not valid for '127.0.0.1'" in refusal(access(f"tls://127.0.0.1:{port}", ca=authority.ca))


@pytest.mark.parametrize("url", ["tls://app:{}@127.0.0.1:{}", "nats://app:{}@127.0.0.1:{}"])
def test_whoever_answers_without_tls_does_not_get_the_login(url: str, authority: Authority) -> None:
    """As somebody between node and server would, to have it in the clear."""
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pretend() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(b'INFO {"server_id":"X","version":"2.15.1","auth_required":true,"headers":true}\r\n')
                    while part := caller.recv(4096):
                        heard.extend(part)

        threading.Thread(target=pretend, daemon=True).start()
        address = url.format(IN_URL, listener.getsockname()[1])
        assert "there is no TLS to be had" in refusal(access(address, ca=authority.ca))
        listener.shutdown(socket.SHUT_RDWR)
    assert b"CONNECT" not in heard


def test_the_persistence_module_takes_the_same_from_its_environment(tmp_path: Path, authority: Authority) -> None:
    seed, pair = tmp_path / "user.nk", new_nkey(USER)
    seed.write_text(seed_of(pair))
    cert, key = authority.issue("module")
    config = tls(authority, "ledger.example", verify=True) + f"\nauthorization {{ users: [{{ nkey: {pair.public} }}] }}"
    with server(tmp_path, config) as port:
        env = {
            "NATS_URL": f"tls://127.0.0.1:{port}",
            "NATS_NKEY": str(seed),
            "NATS_CA": str(authority.ca),
            "NATS_CERT": str(cert),
            "NATS_KEY": str(key),
            "NATS_SERVER_NAME": "ledger.example",
        }
        factory = Factory(Environment("app", env | {"PERSISTENCE_MODULE": "infra.jetstream"}))
        factory.application_recorder().insert_events([StoredEvent(f"candidate-{'ab' * 16}", 1, "acted", b"{}")])
        factory.close()


Given = dict[str, Any]
MISTAKES: list[tuple[str, Callable[[Path], Given], str]] = [
    (
        "a file that is not there",
        lambda folder: {"nats_credentials": folder / "no"},
        "RAPPORT_NATS_CREDENTIALS: .*no cannot be read",
    ),
    ("a folder", lambda folder: {"nats_ca": folder}, "RAPPORT_NATS_CA: .* cannot be read: Is a directory"),
    (
        "no credentials",
        lambda folder: {"nats_credentials": folder / "text"},
        "CREDENTIALS: .* does not hold a user's JWT and seed",
    ),
    (
        "no seed",
        lambda folder: {"nats_nkey": folder / "text"},
        "RAPPORT_NATS_NKEY: .* does not hold the seed of an nkey",
    ),
    ("no authority", lambda folder: {"nats_ca": folder / "text"}, "RAPPORT_NATS_CA: .* does not hold certificates"),
    ("no certificate", lambda folder: {"nats_cert": folder / "text"}, "RAPPORT_NATS_CERT: .* are not a certificate"),
    (
        "a key without certificate",
        lambda folder: {"nats_key": folder / "text"},
        "RAPPORT_NATS_KEY is of no use without",
    ),
    (
        "two logins",
        lambda folder: {"nats_token": "x", "nats_nkey": folder / "seed"},
        "only one of RAPPORT_NATS_TOKEN, RAPPORT_NATS_NKEY",
    ),
    ("no address", lambda _: {"nats_url": " , "}, "RAPPORT_NATS_URL names no server"),
    ("another scheme", lambda _: {"nats_url": f"http://a:{PASSWORD}@h"}, "RAPPORT_NATS_URL holds what is no server"),
    (
        "a bare password",
        lambda _: {"nats_url": f"nats://a:{PASSWORD}@h:4222"},
        "RAPPORT_NATS_URL holds what is no server",
    ),
    ("two passwords", lambda _: {"nats_url": "nats://a:b@h,nats://a:c@i"}, "RAPPORT_NATS_URL have different logins"),
    (
        "a login for nowhere",
        lambda _: {"nats_url": None, "nats_token": "x"},
        "RAPPORT_NATS_TOKEN is given, but no cluster",
    ),
    (
        "no system seed",
        lambda folder: {"nats_system_nkey": folder / "text"},
        "RAPPORT_NATS_SYSTEM_NKEY: .* does not hold the seed",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_in_the_settings_is_named_in_one_sentence(
    given: Callable[[Path], Given], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text(f"this is {PASSWORD}")
    (tmp_path / "seed").write_text(seed_of(new_nkey(USER)))
    settings = Settings(data=tmp_path / "node", **{"nats_url": "nats://127.0.0.1:1"} | given(tmp_path))
    with pytest.raises(AccessError, match=sentence) as caught, Node(settings):
        pass
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "Hun" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_rather_than_asked_for(tmp_path: Path, authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization

    cert, key = authority.issue("locked")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(AccessError, match="its key without passphrase"):
        access("tls://127.0.0.1", cert=cert, key=key)


def test_several_servers_are_one_setting_and_share_their_login() -> None:
    way = access("nats://u:p@one, two:4333 ,tls://[::1]")
    assert way.servers == ("tls://one:4222", "tls://two:4333", "tls://[::1]:4222")
    assert (way.options["user"], way.options["password"]) == ("u", "p")
    assert isinstance(way.options["tls"], ssl.SSLContext)


def test_no_secret_shows_in_a_representation() -> None:
    url = f"nats://app:{IN_URL}@127.0.0.1:4222"
    settings = Settings(nats_url=url, nats_token=SecretStr(TOKEN), nats_system_url=url)
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {access(url)!r} {access(url)}"
    assert "Hun" not in shown
    assert TOKEN not in shown


def test_a_refused_login_puts_no_password_on_the_screen_or_in_the_log(tmp_path: Path) -> None:
    port = shared_server().port
    env = os.environ | {"RAPPORT_NATS_URL": f"nats://app:{IN_URL}@127.0.0.1:{port},127.0.0.1:1"}
    ran = subprocess.run(
        [sys.executable, "-c", "from api.cli import main; main()", "-v", "--data", str(tmp_path / "d"), "status"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 1
    assert f"the NATS server at 127.0.0.1:{port}, 127.0.0.1:1 refuses the login" in " ".join(ran.stderr.split())
    assert "Hun" not in ran.stdout + ran.stderr
