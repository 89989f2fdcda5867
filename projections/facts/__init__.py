"""What is known of a person, as intervals of time: the facts that pool rules ask about.

`attribute` is tag, source, location, seniority, role_family, skill or exists; `value` is lower case, trimmed.
The intervals of one person, attribute and value never overlap.
"""

from projections import identity
from projections.view import View

VIEW = View(
    name="facts",
    schema="pii",
    keys=("canonical_id",),
    types=frozenset({"tagged", "untagged", "sourced", "profile_corrected"}),
    depends_on=(identity.VIEW,),
)
