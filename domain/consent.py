"""May this person be contacted, on this channel, for this purpose, at this time, and why.

A person may hold several records (merges). Each statement belongs to the record it was made on. The rule,
per channel and purpose ("cell"), over the statements in force at the time asked about:

0. A restriction holds for every cell until a later lifting (Art. 18 GDPR): data is stored and not used. A lifting that
   names the request it belongs to lifts what was restricted for that request, and nothing else.
1. An opt-out (or a spam complaint) holds until a later opt-in that covers the cell (Art. 21(3) GDPR).
2. Otherwise a withdrawal of consent holds until a later consent that was not over when it was given (Art. 7(3));
   another basis does not revive what the person withdrew (EDPB Guidelines 05/2020, points 121-123).
3. Otherwise an unexpired consent permits (Art. 6(1)(a)).
4. Otherwise a recorded basis permits, unless one of them says that consent is needed (Art. 6(1)(b)-(f)).
5. Otherwise there is no basis, and the answer is no.

A permission reaches another record of the same person only when it was recorded after the two were merged:
that makes the state after a merge the most restrictive of the two, and later acts of the person count for
the whole. `projections/gdpr_audit/view.sql` states the same rule in SQL; a property test holds them together.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.policy import Basis, Channel

OPT_OUTS = frozenset({"opted_out", "complained"})
TAKEN_BACK = OPT_OUTS | {"consent_withdrawn", "restricted"}
"""What a person says against being contacted. It is never passed over: see `standing` and `interaction_key`."""
OF_EVERY_CELL = frozenset({"restricted", "restriction_lifted"})
"""Statements that are about all use of the data, whatever channel they came by."""
STATEMENT_TYPES = TAKEN_BACK | OF_EVERY_CELL | {"opted_in", "consent_given", "basis_recorded"}
ANY_PURPOSE = "*"
"""In answers: a purpose that nobody has named. Said against contact, it means every purpose."""


class Status(StrEnum):
    """The state of one cell; the words for bases are `Basis`."""

    RESTRICTED = "restricted"
    OPTED_OUT = "opted_out"
    WITHDRAWN = "withdrawn"
    CONSENT = "consent"
    CONSENT_MISSING = "consent_missing"
    EXPIRED = "expired"
    NO_BASIS = "no_basis"


@dataclass(frozen=True, slots=True)
class Statement:
    """One event that bears on standing, by when it took effect. `channel` or `purpose` absent means all of them."""

    candidate_id: str
    seq: int
    occurred_at: datetime
    type: str
    channel: Channel | None = None
    purpose: str | None = None
    basis: Basis | None = None
    expires_at: datetime | None = None
    request: str | None = None
    """The matter that a restriction, or the lifting of one, belongs to."""

    @property
    def order(self) -> tuple[datetime, int]:
        """When it happened; the ledger's order settles a tie."""
        return (self.occurred_at, self.seq)


@dataclass(frozen=True, slots=True)
class Standing:
    """The answer: yes or no, the state it rests on, and the ledger position that decides it."""

    contactable: bool
    status: str
    because_seq: int | None


def effective_at(type_: str, occurred_at: datetime, recorded_at: datetime) -> datetime:
    """From when an event holds. A statement whose claimed time lies ahead (a clock that is wrong, a local time sent as
    UTC) was made before it was recorded all the same: what is against contact holds as soon as we know of it, and what
    permits contact cannot answer an objection that was recorded behind it."""
    return min(occurred_at, recorded_at) if type_ in STATEMENT_TYPES else occurred_at


def now_of(statements: Iterable[Statement], now: datetime) -> datetime:
    """The moment at which to ask for a standing now, by a clock that says `now`: not before a word against contact
    that is in the ledger, whose clock may be ahead of ours."""
    return max([now, *(s.occurred_at for s in statements if s.type in TAKEN_BACK)])


JoinSeq = Callable[[str, str], int]
"""Ledger position at which two records became one person; asked only about records of one person."""


def no_merges(_a: str, _b: str) -> int:
    """`JoinSeq` for a person with a single record."""
    raise LookupError("two records, but no merge that joins them")


def standing(
    statements: Iterable[Statement],
    channel: Channel | None,
    purpose: str,
    at: datetime,
    joined: JoinSeq = no_merges,
) -> Standing:
    """The standing of one cell as of `at`. `channel=None` asks about any channel nobody has named."""
    held = [
        s for s in statements if s.occurred_at <= at and s.channel in (None, channel) and s.purpose in (None, purpose)
    ]

    def unanswered(types: Iterable[str], by: set[str]) -> list[Statement]:
        answers = [s for s in held if s.type in by]
        return [s for s in held if s.type in types and not any(_answers(a, s, joined) for a in answers)]

    if restricted := unanswered(["restricted"], by={"restriction_lifted"}):
        return Standing(False, Status.RESTRICTED, _latest(restricted).seq)
    if out := unanswered(OPT_OUTS, by={"opted_in"}):
        return Standing(False, Status.OPTED_OUT, _latest(out).seq)
    if withdrawn := unanswered(["consent_withdrawn"], by={"consent_given"}):
        return Standing(False, Status.WITHDRAWN, _latest(withdrawn).seq)
    given = unanswered(["consent_given"], by={"consent_given", "consent_withdrawn"})
    if valid := [s for s in given if s.expires_at is None or s.expires_at > at]:
        return Standing(True, Status.CONSENT, _latest(valid).seq)
    bases = unanswered(["basis_recorded"], by={"basis_recorded"})
    if bases and not any(s.basis == Basis.CONSENT for s in bases):
        return Standing(True, str(_latest(bases).basis), _latest(bases).seq)
    if given:
        return Standing(False, Status.EXPIRED, _latest(given).seq)
    if bases:
        return Standing(False, Status.CONSENT_MISSING, _latest(s for s in bases if s.basis == Basis.CONSENT).seq)
    return Standing(False, Status.NO_BASIS, None)


def _answers(later: Statement, earlier: Statement, joined: JoinSeq) -> bool:
    """Whether `later` takes the place of `earlier`: it comes after it, on the same person."""
    if later.order <= earlier.order:
        return False
    over = later.expires_at is not None and later.expires_at <= later.occurred_at
    if earlier.type == "consent_withdrawn" and over:
        return False  # a consent that was over when it was given
    if earlier.type == "restricted" and later.request not in (None, earlier.request):
        return False  # each is lifted by itself
    if earlier.type in TAKEN_BACK and later.occurred_at == earlier.occurred_at:
        return False  # said at once, the word against contact wins, whichever arrived first
    if later.candidate_id == earlier.candidate_id:
        return True
    return later.seq > joined(later.candidate_id, earlier.candidate_id)


def _latest(statements: Iterable[Statement]) -> Statement:
    return max(statements, key=lambda s: s.order)
