"""The certificate of an erasure: what was erased, where, when and by whom, in words, to be signed by the log's key."""

from domain.checkpoint import Checkpoint
from domain.event import utc_now
from infra.erasing import Erasure

VERSION = 1

_ENVELOPE = (
    "What remains of these records is the envelope of their events: types, times, and what is personal sealed",
    "with keys that do not exist any more. It proves that nothing else of the log was changed.",
)
_PURGED = (
    "What remains of the events of these records is their place in the ledger, when it took them, number, type and",
    "hash; the bytes that were stored are overwritten. It proves that nothing else of the log was changed.",
)


def _void(erasure: Erasure) -> list[str]:
    if not erasure.void:
        return []
    since = max(erasure.void.values()).isoformat(timespec="seconds")
    return [
        f"{len(erasure.void)} of these are not recognised any more since {since}: the secret of their hashes was lost,",
        "and whoever names one of them is taken for somebody new",
    ]


def certificate(erasure: Erasure, checkpoint: Checkpoint) -> str:
    """The text. `checkpoint` is a signed one of the log, which holds the last events of the records."""
    records = [
        f"record {r.id}: {r.events} events before the one that ends it, which is event {r.erased_seq} of the ledger"
        + (f"; the bodies of {r.bodies} of them removed, named up to event {r.named_at}" if erasure.purge else "")
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
            f"{len(erasure.hashes)} identifiers (keyed hashes) lead to nobody any more, and to nobody again unless",
            "an officer lifts them",
            *_void(erasure),
            *steps,
            f"certified: {utc_now().isoformat(timespec='seconds')}",
            *(_PURGED if erasure.purge else _ENVELOPE),
            "This speaks of the node's data folder and of the ledger. It does not reach copies made before: exported",
            "files, snapshots handed out, backups of the data folder, other nodes' folders: each node clears its own.",
            "Servers of a cluster keep what was sent to them in logs of their own, until they compact these.",
            f"log {checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}",
            "",
        ]
    )
