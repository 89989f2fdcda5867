"""What a subscriber of the feed may do on the NATS server.

Its account (`infra.nats_accounts`) imports four services of the ledger's: asking for its one consumer, pulling from
it, acknowledging, and having handed out anew what is not acknowledged. They lie under a prefix of their own (`API`),
since under `$JS.API` every account has its own JetStream, if any.
"""

import base64
import binascii
from secrets import token_bytes

from infra.jetstream.nkey import SEED
from infra.jetstream.stream import Stream
from infra.nats_accounts import Guest

API = "FEED.API"
"""What a subscriber's client is told to use in place of `$JS.API`."""
FEED = Stream("FEED", "feed")

USER = 20 << 3
"""The prefix of a user's public key, written `U`."""


def subscriber(name: str, nkey: str, stream: str = FEED.name) -> Guest:
    """The subscriber `name`, who logs in by this public key."""
    place = f"{stream}.{name}"
    services = {
        f"{API}.CONSUMER.INFO.{place}": f"$JS.API.CONSUMER.INFO.{place}",
        f"{API}.CONSUMER.MSG.NEXT.{place}": f"$JS.API.CONSUMER.MSG.NEXT.{place}",
        f"{API}.CONSUMER.RESET.{place}": f"$JS.API.CONSUMER.RESET.{place}",
        f"$JS.ACK.{place}.>": f"$JS.ACK.{place}.>",
    }
    return Guest(f"feed-{name}", {"nkey": nkey}, services)


def new_seed() -> str:
    """The seed of a new key for a user (`SU…`). Whoever has it can log in; the server needs the public key alone."""
    body = bytes([SEED | USER >> 5, (USER & 31) << 3]) + token_bytes(32)
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")
