"""Whole histories of a person: what the ledger holds, refused where it is less than the views saw."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from api.views_file import ViewsFile
from domain import candidate
from domain.candidate import Candidate, CandidateEvent
from domain.consent import Standing, now_of, standing
from domain.errors import ErasedCandidate, UnreadableCandidate
from domain.event import Recorded, utc_now
from domain.identity import Forest
from domain.policy import Channel
from domain.trail import standing_known_at
from infra.ledger import Ledger
from projections import mirrored, queries


def now_of_any(histories: Iterable[Iterable[Recorded[CandidateEvent]]]) -> datetime:
    """Now, and not before the last of these events was recorded: the ledger's clock may be ahead of ours."""
    return max([utc_now(), *(r.recorded_at for history in histories for r in history)])


class Histories:
    """From the ledger; the views only say which records belong together, and how much there has to be of each."""

    def __init__(self, ledger: Ledger, views: ViewsFile, wait_for: Callable[[int], None]) -> None:
        """`wait_for` returns when the views have come to a seq. What is asked of them waits while their file is
        exchanged, so that nothing is half recorded for it."""
        self._ledger = ledger
        self._views = views
        self._wait_for = wait_for

    def forest_of(self, candidate_id: str) -> Forest:
        """The merges around a candidate, with everything the ledger holds by now.

        Raises ViewsBehind, or UnreadableCandidate when the ledger hands out less of them than the views saw.
        """
        self._wait_for(self._ledger.last_seq())
        forest = self._views.ask(lambda cursor: queries.forest(cursor, candidate_id))
        self._fresh(forest.members(candidate_id))
        return forest

    def histories(self, candidate_id: str) -> list[list[Recorded[CandidateEvent]]]:
        """The history, from the ledger, of every record that is or ever was one person with `candidate_id`. Records
        that were of one person with it once, and were erased since, are left out.

        Raises ErasedCandidate, or UnreadableCandidate when one of them cannot be read whole.
        """
        self._wait_for(self._ledger.last_seq())
        records = self._views.ask(lambda cursor: queries.ever_merged(cursor, candidate_id))
        places = self._views.ask(lambda cursor: mirrored.places(cursor, records))
        histories = self._ledger.histories(records, {id_: [seq for seq, _ in held] for id_, held in places.items()})
        if candidate_id not in histories:
            raise ErasedCandidate(candidate.ERASED)
        _require_whole({id_: len(history) for id_, history in histories.items()}, places)
        return list(histories.values())

    def standing(
        self,
        candidate_id: str,
        channel: Channel,
        purpose: str,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> tuple[Standing, datetime]:
        """May the person be contacted, from the ledger, and as of when that is; with `known_at` from what it held then.
        Now, if `as_of` is None."""
        if known_at is not None:
            histories = self.histories(candidate_id)
            at = as_of or now_of_any(histories)
            return standing_known_at(candidate_id, histories, channel, purpose, at, known_at), at
        forest = self.forest_of(candidate_id)
        states = self._fresh(forest.members(candidate_id))
        statements = [s for state in states for s in state.statements]
        at = as_of or now_of(statements, utc_now())
        return standing(statements, channel, purpose, at, forest.joined), at

    def _fresh(self, candidate_ids: Iterable[str]) -> list[Candidate]:
        """States that hold all that was recorded. Raises UnreadableCandidate where there is none."""
        ids = list(candidate_ids)
        places = self._views.ask(lambda cursor: mirrored.places(cursor, ids))
        states = self._ledger.candidates(ids, fresh=True)
        for state in states.values():
            if state.unreadable is not None:
                raise UnreadableCandidate(state.unreadable)
            if state.erased:
                raise ErasedCandidate(candidate.ERASED)
        _require_whole({id_: state.version for id_, state in states.items()}, places)
        return list(states.values())


def _require_whole(versions: Mapping[str, int], places: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    """Raises UnreadableCandidate where the ledger hands out less than the views saw: of its losses it is silent."""
    if any(version < seen for id_, version in versions.items() for _, seen in places[id_]):
        raise UnreadableCandidate(
            "the ledger does not hand out every event of this candidate; `rapport verify` names what is lost"
        )
