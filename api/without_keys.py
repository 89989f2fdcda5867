"""Who and what is meant, for those who only read. The ledger and the claims are asked; without keys, which these need,
the views are, where they can tell without opening anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.errors import UnknownPool, UnresolvedCandidate
from infra.crypto.master import KeysMissing
from infra.identifiers import identifiers_of
from projections import queries

if TYPE_CHECKING:
    from api.node import Node
    from domain.interaction import Reference


def candidate_meant(node: Node, reference: Reference) -> str:
    """The record that `reference` names; without keys only a bare id is one.

    Raises as `Recording.resolve` does, and KeysMissing where an identifier would have to be looked up.
    """
    try:
        return node.recording.resolve(reference)
    except KeysMissing:
        if reference.id is None or identifiers_of(reference):
            raise
    node.wait_for(node.ledger.last_seq())
    with node.projector.cursor() as cursor:
        if queries.canonical(cursor, reference.id) is None:
            raise UnresolvedCandidate("the views hold no candidate of this id, and without keys only they are asked")
    return reference.id


def pool_meant(node: Node, name_or_id: str) -> str:
    """The id of the pool so named. Raises UnknownPool."""
    try:
        return node.pools.resolve(name_or_id)
    except KeysMissing:
        node.wait_for(node.ledger.last_seq())
    with node.projector.cursor() as cursor:
        named = queries.pool_by_name(cursor, name_or_id)
        ids = {str(row["pool_id"]).replace("-", "") for row in ([named] if named else queries.pools(cursor))}
    if named is None:
        ids &= {name_or_id}
    if not ids:
        raise UnknownPool(f"the views hold no pool {name_or_id!r}, and without keys only they are asked")
    return ids.pop()
