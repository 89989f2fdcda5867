"""Standing per person, purpose and channel, as intervals with the event that decides; `domain.consent` in SQL.

Channel `*` is any channel the person's statements do not name, purpose `*` any purpose they do not name.
"""

from domain.consent import STATEMENT_TYPES
from projections import identity
from projections.view import View

VIEW = View(name="gdpr_audit", keys=("canonical_id",), types=STATEMENT_TYPES, depends_on=(identity.VIEW,))
