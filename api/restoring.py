"""What a restore would do, and doing it: events, then keys, then claims; each step may be repeated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from api.evidence import Evidence
from api.node import secret_of
from consumers.decoding import table_of
from consumers.loss import claims_lost, held_by, keys_lost, shown
from consumers.restoring import RestoreRefused, Survey, claim_again, put_back, survey
from consumers.verification import Progress
from infra.crypto.claims import Claims
from infra.crypto.keyring import CLAIMING, GIVEN_UP, MADE, OWN, PEPPER, UNDER_WAY, Keyring
from infra.crypto.master import key_id_of, local_master_key
from infra.erasing import Unrecognised, kept, unrecognised, void_all
from infra.jetstream import Bucket, LedgerReader, Stream, declare_stream
from infra.settings import Settings
from projections import mirrored

ERASURES = Stream("KV_erasures", "$KV.erasures")


class Forgotten(NamedTuple):
    """What is not known any more of erased persons: so many identifiers cannot be compared with, and of so many erased
    records it is not known which there were.
    """

    identifiers: int = 0
    records: int = 0

    @property
    def sentence(self) -> str:
        """What it means."""
        parts = [
            f"{count:,} {what}"
            for count, what in (
                (self.identifiers, "identifiers of erased people"),
                (self.records, "erased records, whose identifiers nobody knows,"),
            )
            if count
        ]
        return (
            f"{' and '.join(parts)} are not recognised any more: an import or a late webhook that names one of them "
            "records the person anew"
        )


@dataclass(frozen=True)
class Plan:
    """What is lost, and so what is to be done."""

    survey: Survey
    keys_lost: int
    claims_lost: bool
    suppressions: Forgotten

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (
            self.survey.lost or self.survey.gaps or self.keys_lost or self.claims_lost or any(self.suppressions)
        )

    def sentences(self) -> list[str]:
        """Each thing to be done, with what it means."""
        said = []
        if self.survey.lost:
            events, candidates = self.survey.census
            said.append(
                f"events {shown([self.survey.lost])} are lost from the ledger and in the mirror: {events:,} events of "
                f"{candidates:,} candidates are appended again, byte for byte, each at its old place and with its time"
            )
        if self.survey.gaps:
            said.append(
                f"events {shown(self.survey.gaps)} are lost for good: neither ledger nor mirror holds them; they are "
                "noted as known to be gone"
            )
        if self.keys_lost:
            said.append(
                f"the keys of {self.keys_lost:,} candidates or pools are lost for good: nobody can open again what is "
                "sealed in their events (names, addresses, texts), trail and commands on them will be refused, "
                "and all there is of it is the mirror's opened copy in the views file: keep that file"
            )
        if self.claims_lost:
            said.append("the claims that lead from identifiers to candidates are made again from the mirror")
        if any(self.suppressions):
            said.append(self.suppressions.sentence)
        return said

    def require(self, *, without_keys: bool, accept_gaps: bool, without_suppressions: bool = False) -> None:
        """Raises RestoreRefused for a loss that was not accepted by name."""
        if self.keys_lost and not without_keys:
            raise RestoreRefused(
                f"the keys of {self.keys_lost:,} candidates or pools are gone; put back the folder "
                "jetstream/RAPPORT/streams/KV_keys from its own backup, or accept the loss with --without-keys"
            )
        if any(self.suppressions) and not without_suppressions:
            raise RestoreRefused(
                f"what erased people are recognised by is gone, so that {self.suppressions.sentence}; put back the "
                "folders KV_keys and KV_erasures in jetstream/RAPPORT/streams from their own backup, or accept the "
                "loss with --without-suppressions"
            )
        if self.survey.gaps and not accept_gaps:
            raise RestoreRefused(
                f"events {shown(self.survey.gaps)} are in neither ledger nor mirror; put back a copy of either that "
                "holds them, or accept the loss with --accept-gaps"
            )

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "put_back": self.survey.lost,
            "events": self.survey.census.events if self.survey.lost else 0,
            "candidates": self.survey.census.candidates if self.survey.lost else 0,
            "gaps_accepted": self.survey.gaps,
            "keys_lost": self.keys_lost,
            "claims_made": self.claims_lost,
            "suppressions_lost": self.suppressions._asdict(),
        }


def plan(settings: Settings, found: Evidence, on_progress: Callable[[Progress], None]) -> Plan:
    """Compares everything. Raises RestoreRefused when nothing can be put back, OperationalError when it cannot read."""
    surveyed = survey(found.connection, found.stream, found.cursor, on_progress)
    if surveyed.refusal is not None:
        raise RestoreRefused(surveyed.refusal)
    own = Bucket(found.connection, "keys", replicas=settings.replicas).get_many(OWN)
    has_events = mirrored.extent(found.cursor).rows > 0 or surveyed.ledger_last_seq > 0
    lost = PEPPER not in own or claims_lost(found.connection, own)
    return Plan(
        surveyed,
        keys_lost=keys_lost(found.connection, found.cursor, own),
        claims_lost=has_events and lost,
        suppressions=_forgotten(settings, found, own) if lost else Forgotten(),
    )


def unrecognised_in(found: Evidence, settings: Settings) -> Unrecognised | None:
    """What restores before have left of which nobody is kept away any more. Makes nothing. Raises OperationalError."""
    if not held_by(found.connection, ERASURES).messages:
        return None
    return unrecognised(kept(Bucket(found.connection, "erasures", replicas=settings.replicas)))


def _forgotten(settings: Settings, found: Evidence, own: Mapping[str, bytes]) -> Forgotten:
    """Claims are made from the mirror, which knows nothing of the erased: what their erasures know is all there is."""
    erasures = kept(Bucket(found.connection, "erasures", replicas=settings.replicas))
    held = {id_ for erasure in erasures for id_ in erasure.wanted}
    hashes = {hashed for erasure in erasures for hashed in erasure.suppressing}
    unknown = len(set(mirrored.erased(found.cursor)) - held)
    return Forgotten(0 if PEPPER in own else len(hashes), unknown)


def restore(settings: Settings, found: Evidence, planned: Plan, on_progress: Callable[[int], None]) -> None:
    """Does it. Raises RestoreRefused at the first deviation, OperationalError when the server does not confirm."""
    connection = found.connection
    stream = declare_stream(connection, replicas=settings.replicas)
    for first, last in planned.survey.gaps:
        mirrored.note_gap(found.cursor, first, last, "lost, and accepted as lost")
    if planned.survey.lost:
        put_back(connection, stream, found.cursor, planned.survey.lost, on_progress)
    keys = Bucket(connection, "keys", replicas=settings.replicas)
    own = keys.get_many(OWN)
    needed = key_id_of(own[PEPPER]) if PEPPER in own else None
    keyring = Keyring(keys, local_master_key(secret_of(settings), settings.master_key_file, needed))
    erasures = Bucket(connection, "erasures", replicas=settings.replicas)
    if planned.suppressions.identifiers:
        void_all(erasures)  # before there is another pepper: whoever finds that takes these for whole
    if planned.keys_lost:
        keys.put(GIVEN_UP, str(planned.keys_lost + int(own.get(GIVEN_UP, b"0"))).encode())
    if planned.claims_lost:
        keys.put(CLAIMING, UNDER_WAY)
        claims = Claims(Bucket(connection, "claims", replicas=settings.replicas), keyring.pepper)
        keyring.pepper()  # also where there is nobody to make a claim for
        reader = LedgerReader(connection, stream)
        behind = reader.read_batches(planned.survey.checkpoint)
        claim_again(claims, found.cursor, (table_of(batch, keyring) for batch in behind))
        for erasure in kept(erasures):
            claims.suppress(erasure.suppressing)
        keys.put(CLAIMING, MADE)
