"""The kinds of findings: what may break the rules. `projections/finding_kinds` says what to do about each."""

from enum import StrEnum


class FindingKind(StrEnum):
    """A rule that is broken; how each is found stands in `projections/findings`."""

    CONTACT_AFTER_OPT_OUT = "contact_after_opt_out"
    CONTACT_WHILE_RESTRICTED = "contact_while_restricted"
    REQUEST_OVERDUE = "request_overdue"
    CONTACT_WITHOUT_BASIS = "contact_without_basis"
    OPT_OUT_HONOURED_LATE = "opt_out_honoured_late"
    NOTICE_OVERDUE = "notice_overdue"
    RETENTION_DUE = "retention_due"
    BASIS_MISSING = "basis_missing"
    BASIS_ENDED = "basis_ended"
    RECIPIENTS_NOT_TOLD = "recipients_not_told"
    OPEN_WITHOUT_TRACKING_BASIS = "open_without_tracking_basis"
    LIA_MISSING = "lia_missing"
    CONSENT_OLD = "consent_old"
