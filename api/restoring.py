"""What a restore would do, and doing it: events, then keys, then claims; each step may be repeated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.evidence import Evidence
from api.node import secret_of
from consumers.loss import claims_lost, keys_lost, shown
from consumers.restoring import RestoreRefused, Survey, claim_again, put_back, survey
from consumers.verification import Progress
from infra.crypto.claims import Claims
from infra.crypto.keyring import GIVEN_UP, PEPPER, Keyring
from infra.crypto.master import key_id_of, local_master_key
from infra.erasing import kept
from infra.jetstream import Bucket, declare_stream
from infra.settings import Settings
from projections import mirrored


@dataclass(frozen=True)
class Plan:
    """What is lost, and so what is to be done."""

    survey: Survey
    keys_lost: int
    claims_lost: bool

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.survey.lost or self.survey.gaps or self.keys_lost or self.claims_lost)

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
        return said

    def require(self, *, without_keys: bool, accept_gaps: bool) -> None:
        """Raises RestoreRefused for a loss that was not accepted by name."""
        if self.keys_lost and not without_keys:
            raise RestoreRefused(
                f"the keys of {self.keys_lost:,} candidates or pools are gone; put back the folder "
                "jetstream/RAPPORT/streams/KV_keys from its own backup, or accept the loss with --without-keys"
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
        }


def plan(settings: Settings, found: Evidence, on_progress: Callable[[Progress], None]) -> Plan:
    """Compares everything. Raises RestoreRefused when nothing can be put back, OperationalError when it cannot read."""
    surveyed = survey(found.connection, found.stream, found.cursor, on_progress)
    if surveyed.refusal is not None:
        raise RestoreRefused(surveyed.refusal)
    own = Bucket(found.connection, "keys", replicas=settings.replicas).get_many([PEPPER, GIVEN_UP])
    has_events = mirrored.extent(found.cursor).rows > 0
    return Plan(
        surveyed,
        keys_lost=keys_lost(found.connection, found.cursor, own),
        claims_lost=has_events and (PEPPER not in own or claims_lost(found.connection)),
    )


def restore(settings: Settings, found: Evidence, planned: Plan, on_progress: Callable[[int], None]) -> None:
    """Does it. Raises RestoreRefused at the first deviation, OperationalError when the server does not confirm."""
    connection = found.connection
    stream = declare_stream(connection, replicas=settings.replicas)
    for first, last in planned.survey.gaps:
        mirrored.note_gap(found.cursor, first, last, "lost, and accepted as lost")
    if planned.survey.lost:
        put_back(connection, stream, found.cursor, planned.survey.lost, on_progress)
    keys = Bucket(connection, "keys", replicas=settings.replicas)
    own = keys.get_many([PEPPER, GIVEN_UP])
    needed = key_id_of(own[PEPPER]) if PEPPER in own else None
    keyring = Keyring(keys, local_master_key(secret_of(settings), settings.master_key_file, needed))
    if planned.keys_lost:
        keys.put(GIVEN_UP, str(planned.keys_lost + int(own.get(GIVEN_UP, b"0"))).encode())
    if planned.claims_lost:
        claims = Claims(Bucket(connection, "claims", replicas=settings.replicas), keyring.pepper)
        claim_again(claims, found.cursor)
        for erasure in kept(Bucket(connection, "erasures", replicas=settings.replicas)):
            claims.suppress(erasure.suppressing)
