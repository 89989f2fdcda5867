"""The cases that the `eventsourcing` library ships for persistence modules, run on ours."""

import sys

import eventsourcing.cryptography

# The library's cases want its cipher that needs pycryptodome; it ships the same one for `cryptography`, which we have.
sys.modules.setdefault("eventsourcing.cipher", eventsourcing.cryptography)
