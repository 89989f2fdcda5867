"""Files into interaction records: NDJSON, JSON arrays, CSV of interactions, CSV of people."""

from api.importing.lines import Line, Source, open_source

__all__ = ["Line", "Source", "open_source"]
