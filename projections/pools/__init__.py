"""The pools there are, with their names and the rule in force."""

from projections.view import View

VIEW = View(name="pools", schema="pii", keys=("pool_id",), types=frozenset({"created", "rule_changed", "archived"}))
