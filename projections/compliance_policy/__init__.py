"""The compliance policy as SQL reads it: one row a jurisdiction, each with every value that holds there.

Until when a request has to be answered is the law's and no choice of a policy: see `domain.request`.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

from duckdb import DuckDBPyConnection

from domain.compliance_policy import GENERAL, Policy, Terms, default_policy
from projections import sql
from projections.view import View

NAME = "compliance_policy"


def rows(policy: Policy, jurisdiction: str) -> str:
    """The rows as JSON. `jurisdiction` is that of people of whom none is known. Raises PolicyRefused."""
    policy.require(jurisdiction)
    found = [
        {"jurisdiction": code, "by_default": code == jurisdiction, "otherwise": code == GENERAL}
        | {name: getattr(policy.terms(code), name).value for name in Terms.model_fields}
        for code in sorted(policy.jurisdictions)
    ]
    return json.dumps(found, sort_keys=True)


def with_policy(views: Iterable[View], policy: Policy, jurisdiction: str) -> tuple[View, ...]:
    """The views, judging by `policy`; those that rest on it are shown anew when it changes. Raises PolicyRefused."""
    text = rows(policy, jurisdiction)

    def put(connection: DuckDBPyConnection) -> None:
        connection.execute(sql.load(__name__, "policy.sql"), [text])

    return tuple(replace(view, constants=text, prepare=put) if view.name == NAME else view for view in views)


CONSTANTS = rows(default_policy(), GENERAL)


def prepare(connection: DuckDBPyConnection) -> None:
    """Put the policy that comes with Rapport into `ops.compliance_policy`."""
    connection.execute(sql.load(__name__, "policy.sql"), [CONSTANTS])
