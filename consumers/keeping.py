"""Deliveries that could not be recorded, kept: as dead letters, or as those of a kind that nobody knows.

Nothing is kept of whoever was erased. What stands beside it about others is: it may be somebody's opt-out.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import orjson
import structlog
from eventsourcing.persistence import DataError

from consumers.webhooks.addresses import addresses_in
from consumers.webhooks.delivery import Happening
from domain import errors
from domain.interaction import Interaction, parse
from infra.deciding import into_reference
from infra.identifiers import identifiers_of
from infra.ingest_letters import Letters
from infra.ingest_parts import without
from infra.ingest_seals import Taken
from infra.mentions import names
from infra.metrics import Deliveries
from infra.recording import Recording

log = structlog.get_logger()

ID = "id:"
"""Before a record's own id, as `email:` is before an address."""


@dataclass(kw_only=True)
class Told:
    """What a delivery told of, and what became of that."""

    taken: Taken | None = None
    happenings: list[Happening] = field(default_factory=list)
    interactions: list[tuple[Happening, Interaction]] = field(default_factory=list)
    refused: list[tuple[Happening, str]] = field(default_factory=list)
    """Those that are not recorded, each with the reason."""
    reasons: list[str] = field(default_factory=list)
    """Why more of it could not be read."""
    erased: bool = False
    """Whether something in it is known to be about somebody erased."""


class Keeping:
    """Keeps what `letters` are for. `read` says what a delivery tells of."""

    def __init__(
        self, letters: Letters, recording: Recording, counted: Deliveries, read: Callable[[Taken], list[Happening]]
    ) -> None:
        self._letters = letters
        self._recording = recording
        self._counted = counted
        self._read = read

    def keep(self, told: Told, taken: Taken, place: int) -> None:
        """Keeps what could not be recorded, if there is anything: all of the delivery; where it is about somebody
        erased too, only what concerns others. Settled again from its place in the queue it is not kept again.

        Raises OperationalError, and DataError when there is no room for it.
        """
        once = f"{place}|{taken.correlation}"
        unknown = _unknown(told.happenings)
        if not (told.refused or told.reasons or unknown):
            return
        gone = self._erased_in(told, taken)
        if not gone and not told.erased:
            self._add(taken, told.reasons, told.refused, once)
            self._add_unknown(taken, unknown, once)
            return
        if not told.erased:
            self._counted.note(taken.provider, "erased")
        others = [(happening, why) for happening, why in told.refused if gone.isdisjoint(_identifiers(happening))]
        self._add(_as_records(taken, [happening for happening, _ in others]), [], others, f"{once}|records")
        if (rest := _without(taken, gone)) is not None:
            self._add(rest, told.reasons, [], f"{once}|rest")
            self._add_unknown(rest, [] if told.reasons else _unknown(self._read(rest)), once)

    def _erased_in(self, told: Told, taken: Taken) -> set[str]:
        """The identifiers in a delivery, wherever they stand, of people who were erased: of those nothing is kept."""
        found = set(addresses_in(taken.body).values())
        for _, interaction in told.interactions:
            found |= _referred(interaction)
        if not found:
            return set()
        ids = {one.partition(":")[2] for one in found if one.startswith(ID)}
        erased = {ID + id_ for id_, state in self._recording.fresh(ids).items() if state.erased} if ids else set()
        return erased | self._recording.erased_among(found - {ID + id_ for id_ in ids})

    def _add(self, taken: Taken, reasons: Sequence[str], refused: Sequence[tuple[Happening, str]], once: str) -> None:
        """Keeps it as a dead letter, if there is a reason to."""
        told = [*reasons, *dict.fromkeys(why for _, why in refused)]
        if not told:
            return
        try:
            self._letters.add(taken, told, once=once)
        except DataError:  # its reasons are longer than what the queue had in their place
            self._letters.add(replace(taken, headers={}), [told[0], "and more, for which there is no room"], once=once)
        self._counted.note(taken.provider, "dead", len(reasons) + len(refused))
        log.warning("a delivery is kept as a dead letter", provider=taken.provider, correlation=taken.correlation)

    def _add_unknown(self, taken: Taken, kinds: Sequence[str], once: str) -> None:
        for kind in kinds:
            self._letters.add_unknown(taken, kind, once)
            log.info("a delivery of an unknown kind is kept", provider=taken.provider, correlation=taken.correlation)
        self._counted.note(taken.provider, "unknown", len(kinds))


def _unknown(happenings: Sequence[Happening]) -> list[str]:
    """The kinds among them that nobody knows."""
    return list(dict.fromkeys(h.kind for h in happenings if h.record is None and not h.known))


def _identifiers(happening: Happening) -> set[str]:
    """Of whomever is named in what is told."""
    found = set(addresses_in(orjson.dumps(happening.record, default=str)).values())
    with suppress(errors.InvalidInteraction):
        found |= _referred(parse(happening.record))
    return found


def _referred(interaction: Interaction) -> set[str]:
    """The identifiers and ids by which it says whom it is about."""
    references = [interaction.candidate]
    with suppress(errors.InvalidInteraction):
        references += [into] if (into := into_reference(interaction)) is not None else []
    found = {ID + reference.id for reference in references if reference.id is not None}
    for reference in references:
        with suppress(errors.InvalidInteraction):
            found.update(identifiers_of(reference))
    return found


def _as_records(taken: Taken, happenings: Sequence[Happening]) -> Taken:
    """A delivery that tells of these and nothing else."""
    body = orjson.dumps([happening.record for happening in happenings], default=str)
    return Taken(taken.provider, taken.received_at, {}, body, records=True, correlation=taken.correlation)


def _without(taken: Taken, gone: set[str]) -> Taken | None:
    """A delivery without its elements about the people of these identifiers. See `infra.ingest_parts.without`."""
    # What no address in it stands for is an id, which is one where it is a value of its own.
    others = gone - set(addresses_in(taken.body).values())

    def is_theirs(part: bytes) -> bool:
        return not gone.isdisjoint(addresses_in(part).values()) or names(part, taken.provider, others)

    return without(taken, is_theirs)
