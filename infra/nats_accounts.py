"""Accounts on a NATS server that may use some of the ledger's services and do nothing else, as configuration says it.

Each guest has an account of its own. Permissions inside the ledger's account would not do: a client names the subject
that its requests are answered on, the server asks for no permission to publish there, and a stream that listens there
stores the answer; so whoever may ask for anything could write into the ledger and over the keys. From another account
an answer only ever goes back into that account.
"""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

_text = partial(json.dumps, ensure_ascii=True)


class Guest(NamedTuple):
    """An account with one user. `login` is of its configuration, as `nkey` and its public key; `services` are subjects
    of the ledger's account, by what they are called in the guest's.
    """

    account: str
    login: Mapping[str, str]
    services: Mapping[str, str]


def exports(guest: Guest) -> list[str]:
    """What the ledger's account exports to a guest, an entry of `exports` each. A pull has many answers."""
    account = _text(guest.account)
    return [
        f"{{ service: {_text(service)}, accounts: [ {account} ]"
        + (", response_type: stream }" if ".MSG.NEXT." in service else " }")
        for service in guest.services.values()
    ]


def account(guest: Guest, ledger_account: str) -> str:
    """The guest's account, an entry of `accounts`: its one user, and what it may do."""
    login = "".join(f"{name}: {_text(value)}, " for name, value in guest.login.items())
    allowed = ", ".join(map(_text, guest.services))
    imports = ", ".join(
        f"{{ service: {{ account: {_text(ledger_account)}, subject: {_text(service)} }}, to: {_text(own)} }}"
        for own, service in guest.services.items()
    )
    return (
        f"{_text(guest.account)} {{\n"
        f"    users: [ {{ {login}permissions: {{\n"
        f"      publish: {{ allow: [ {allowed} ] }}, subscribe: {{ allow: [ {_text('_INBOX.>')} ] }} }} }} ]\n"
        f"    imports: [ {imports} ]\n  }}"
    )


def all_exports(guests: Iterable[Guest]) -> str:
    """The list for `exports` of the ledger's account."""
    return "[ " + ", ".join(entry for guest in guests for entry in exports(guest)) + " ]"


def all_accounts(guests: Iterable[Guest], ledger_account: str) -> str:
    """Every guest's account, for the block `accounts`."""
    return "\n  ".join(account(guest, ledger_account) for guest in guests)
