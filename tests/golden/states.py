"""What `evolve` makes of the sample events, as a golden file for each STATE_VERSION; never touches one that is there.

python -m tests.golden.states
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domain import candidate
from domain.candidate import STATE, STATE_VERSION, Candidate, CandidateEvent
from tests.golden.samples import samples

PATH = Path(__file__).parent / "states" / f"candidate.v{STATE_VERSION}.json"
TYPES = (
    *("sourced", "profile_corrected", "tagged", "untagged", "emailed", "messaged", "delivered", "opened", "clicked"),
    *("bounced", "complained", "replied", "event_attended", "consent_given", "consent_withdrawn", "opted_out"),
    *("opted_in", "basis_recorded", "notice_given", "merged", "unmerged"),
)
"""Types that came later are told by the versions after theirs."""
RECORDED_AT = datetime(2026, 2, 1, tzinfo=UTC)  # before the samples' time, so that it shows where it counts


def states() -> dict[str, Any]:
    """The state after the samples up to each type of some, by type; every one with an interaction of its own."""
    state, made = Candidate("c0" * 16), {}
    for n, type_ in enumerate(TYPES, 1):
        event = samples()[f"{candidate.KIND}.{type_}"].model_copy(update={"interaction": f"interaction-{n}"})
        assert isinstance(event, CandidateEvent)
        state = candidate.evolve(state, event, n, 10 * n, RECORDED_AT)
        made[type_] = STATE.dump_python(state, mode="json")
        made[type_]["interactions"].sort()
    return {type_: made[type_] for type_ in ("complained", "merged", "unmerged")}


def main() -> None:
    """The file of this STATE_VERSION, if there is none."""
    PATH.parent.mkdir(exist_ok=True)
    if not PATH.exists():
        PATH.write_text(json.dumps(states(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
