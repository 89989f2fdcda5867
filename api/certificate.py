"""The certificate of an erasure: what was erased, where, when and by whom, in words, to be signed by the log's key."""

from domain.checkpoint import Checkpoint
from domain.event import utc_now
from infra.erasing import Erasure

VERSION = 1


def certificate(erasure: Erasure, checkpoint: Checkpoint) -> str:
    """The text. `checkpoint` is a signed one of the log, which holds the last events of the records."""
    records = [
        f"record {r.id}: {r.events} events before the one that ends it, which is event {r.erased_seq} of the ledger"
        for r in erasure.records
    ]
    steps = [f"{step}: {at.isoformat(timespec='seconds')}" for step, at in erasure.steps.items()]
    return "\n".join(
        [
            "Certificate of erasure (Art. 17 GDPR)",
            f"version {VERSION}",
            f"erasure {erasure.id}",
            f"ground {erasure.ground.value}",
            *([f"request {erasure.request}"] if erasure.request else []),
            f"carried out by {erasure.by}",
            f"begun {erasure.requested_at.isoformat(timespec='seconds')}",
            *records,
            f"{len(erasure.hashes)} identifiers lead to nobody any more and cannot be claimed again (keyed hashes)",
            *steps,
            f"certified: {utc_now().isoformat(timespec='seconds')}",
            "What remains of these records is the envelope of their events: types, times, and what is personal sealed",
            "with keys that do not exist any more. It proves that nothing else of the log was changed.",
            "This speaks of the node's data folder and of the ledger. It does not reach copies made before: exported",
            "files, snapshots handed out, backups of the data folder, other nodes' folders: each node clears its own.",
            f"log {checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}",
            "",
        ]
    )
