"""Views over the ledger: a mirror of its rows, and tables that always equal one SELECT over them."""

from projections.mirror import BATCH_SCHEMA
from projections.projector import BatchOutOfOrder, MirrorOutdated, Projector
from projections.rebuilding import rebuild

__all__ = ["BATCH_SCHEMA", "BatchOutOfOrder", "MirrorOutdated", "Projector", "rebuild"]
