"""Which record stands for the person, by the merges in force; `domain.identity.Forest` in SQL."""

from projections.view import View

VIEW = View(name="identity", keys=("candidate_id",), types=frozenset({"merged", "unmerged"}))
