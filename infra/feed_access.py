"""What a subscriber of the feed may do on the NATS server, as the server's configuration says it.

Each has an account of its own. Permissions inside the ledger's account would not do: a client names the subject that
its requests are answered on, the server asks for no permission to publish there, and a stream that listens there stores
the answer; so whoever may pull from one consumer could write into the ledger and over the keys. From another account
an answer only ever goes back into that account.

The account imports three services of the ledger's: asking for its one consumer, pulling from it, acknowledging. They
lie under a prefix of their own (`API`), since under `$JS.API` every account has its own JetStream, if any.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from functools import partial
from secrets import token_bytes

from infra.jetstream.nkey import SEED
from infra.jetstream.stream import Stream

API = "FEED.API"
"""What a subscriber's client is told to use in place of `$JS.API`."""
FEED = Stream("FEED", "feed")

USER = 20 << 3
"""The prefix of a user's public key, written `U`."""

_text = partial(json.dumps, ensure_ascii=True)


def account_of(name: str) -> str:
    """The account of the subscriber `name`."""
    return f"feed-{name}"


def services(name: str, stream: str = FEED.name) -> dict[str, str]:
    """The ledger's services that a subscriber may use: under which subject, by its own."""
    place = f"{stream}.{name}"
    return {
        f"{API}.CONSUMER.INFO.{place}": f"$JS.API.CONSUMER.INFO.{place}",
        f"{API}.CONSUMER.MSG.NEXT.{place}": f"$JS.API.CONSUMER.MSG.NEXT.{place}",
        f"$JS.ACK.{place}.>": f"$JS.ACK.{place}.>",
    }


def exports(name: str, stream: str = FEED.name) -> list[str]:
    """What the ledger's account exports to a subscriber, an entry of `exports` each. A pull has many answers."""
    account = _text(account_of(name))
    return [
        f"{{ service: {_text(service)}, accounts: [ {account} ]"
        + (", response_type: stream }" if ".MSG.NEXT." in service else " }")
        for service in services(name, stream).values()
    ]


def account(name: str, nkey: str, ledger_account: str, stream: str = FEED.name) -> str:
    """The subscriber's account, an entry of `accounts`: its one user by public key, and what it may do."""
    offered = services(name, stream)
    allowed = ", ".join(map(_text, offered))
    imports = ", ".join(
        f"{{ service: {{ account: {_text(ledger_account)}, subject: {_text(service)} }}, to: {_text(own)} }}"
        for own, service in offered.items()
    )
    return (
        f"{_text(account_of(name))} {{\n"
        f"    users: [ {{ nkey: {_text(nkey)}, permissions: {{\n"
        f"      publish: {{ allow: [ {allowed} ] }}, subscribe: {{ allow: [ {_text('_INBOX.>')} ] }} }} }} ]\n"
        f"    imports: [ {imports} ]\n  }}"
    )


def all_exports(subscribers: Mapping[str, str]) -> str:
    """The list for `exports` of the ledger's account; `subscribers` are public keys by name."""
    return "[ " + ", ".join(entry for name in sorted(subscribers) for entry in exports(name)) + " ]"


def all_accounts(subscribers: Mapping[str, str], ledger_account: str) -> str:
    """Every subscriber's account, for the block `accounts`."""
    return "\n  ".join(account(name, nkey, ledger_account) for name, nkey in sorted(subscribers.items()))


def new_seed() -> str:
    """The seed of a new key for a user (`SU…`). Whoever has it can log in; the server needs the public key alone."""
    body = bytes([SEED | USER >> 5, (USER & 31) << 3]) + token_bytes(32)
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")
