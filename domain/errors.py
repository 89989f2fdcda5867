"""Refusals with a name.

Every refusal carries one sentence a caller can act on and a stable `code` that the HTTP problem
documents and the rejected-lines files repeat. Messages never quote personal data.
"""


class Refused(Exception):
    """The command is not carried out; nothing was recorded."""

    code = "refused"


class InvalidInteraction(Refused):
    """The record itself is not well formed: a missing field, an unknown type, a time without a zone."""

    code = "invalid-interaction"


class UnresolvedCandidate(Refused):
    """No candidate answers to the reference, and this type of interaction does not create one."""

    code = "unresolved-candidate"


class AmbiguousCandidate(Refused):
    """The identifiers of one record point at different candidates."""

    code = "ambiguous-candidate"


class UnknownPool(Refused):
    """No pool of that name exists."""

    code = "unknown-pool"


class NotContactable(Refused):
    """An intended contact has no standing (Art. 6, 7(3), 21 GDPR)."""

    code = "not-contactable"


class MergeRefused(Refused):
    """Merging into the same, an unknown or a merged-away candidate, or unmerging what is not merged."""

    code = "merge-refused"


class OptInWithoutEvidence(Refused):
    """An opt-in recorded on a person's behalf needs evidence (Art. 7(1) GDPR)."""

    code = "opt-in-without-evidence"


class OccurredInFuture(Refused):
    """The claimed time lies further ahead than clocks may differ."""

    code = "occurred-in-future"


class PoolRefused(Refused):
    """The pool exists already, is archived, or its rule cannot be read."""

    code = "pool-refused"


class InvalidModel(Refused):
    """The engagement model is not TOML, or not one that scores can be computed with."""

    code = "invalid-model"


class RequestRefused(Refused):
    """A data subject's request that is not known, was closed, or may not be extended again."""

    code = "request-refused"


class ErasedCandidate(Refused):
    """The person was erased (Art. 17 GDPR): nothing more is recorded, and nothing can be read."""

    code = "erased"


class ConcurrentChange(Refused):
    """Others kept changing the same aggregate; the bounded retries are used up. Trying again is safe."""

    code = "concurrent-change"


class UnreadableCandidate(Refused):
    """The ledger holds an event of this candidate that cannot be read; nothing is decided by guess."""

    code = "unreadable-candidate"
