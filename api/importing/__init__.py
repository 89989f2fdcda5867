"""Files into interaction records: NDJSON, JSON arrays, CSV of interactions, CSV of people."""

from api.importing.lines import FileRefused, Line, Source, open_source

__all__ = ["FileRefused", "Line", "Source", "open_source"]
