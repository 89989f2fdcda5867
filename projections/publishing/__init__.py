"""Copies for others: a DuckDB file of everything without personal data, and the mirror as Parquet."""

from projections.publishing.publisher import Publisher
from projections.publishing.snapshot import PublishingFailed, Snapshot

__all__ = ["Publisher", "PublishingFailed", "Snapshot"]
