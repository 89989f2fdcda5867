"""Views over the ledger: a mirror of its rows, and tables that always equal one SELECT over them."""

from projections.mirror import BATCH_SCHEMA, MirrorOutdated
from projections.projector import BatchOutOfOrder, Projector
from projections.rebuilding import rebuild
from projections.view import ViewRefused

__all__ = ["BATCH_SCHEMA", "BatchOutOfOrder", "MirrorOutdated", "Projector", "ViewRefused", "rebuild"]
