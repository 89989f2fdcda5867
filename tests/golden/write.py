"""Writes golden files for events that have none yet, and their digests; never touches one that is there.

python -m tests.golden.write
"""

import json
from pathlib import Path

from infra.codec import encode
from infra.jetstream.message import encode as encode_message
from tests.golden import digests
from tests.golden.samples import samples

FOLDER = digests.FOLDER / "events"
KEY = bytes(range(32))
NONCE = bytes(range(12))
VERSION = 3


def main(folder: Path = digests.FOLDER) -> None:
    """One file in `events`, and one line in `SHA256SUMS`, for each event type whose newest version has none."""
    (folder / "events").mkdir(exist_ok=True)
    for name, event in samples().items():
        kind = name.partition(".")[0]
        aggregate = f"{kind}-{'c0' * 16}"
        path = folder / "events" / f"{name}.v{event.v}.json"
        if path.exists():
            continue
        stored = encode_message(encode(aggregate, VERSION, event, KEY, NONCE))
        golden = {
            "aggregate": aggregate,
            "version": VERSION,
            "key_hex": KEY.hex(),
            "nonce_hex": NONCE.hex(),
            "fields": event.model_dump(mode="json"),
            "stored": stored.decode(),
        }
        path.write_text(json.dumps(golden, indent=2, ensure_ascii=False) + "\n", "utf-8")
        digests.record(folder, f"events/{path.name}")


if __name__ == "__main__":
    main()
