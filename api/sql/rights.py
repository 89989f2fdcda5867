"""What a query may read and how much it may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rights:
    """Of one caller: the schemas open to SQL, and bounds on time, rows, bytes of the answer and memory."""

    schemas: tuple[str, ...]
    max_seconds: float
    max_rows: int
    max_answer_bytes: int
    max_memory: str
    """For the intermediate results of sorts, joins and groups, in DuckDB's words: `512MB`; the rest goes to disk."""


PERSONAL = frozenset({"pii", "ops"})
"""Schemas with personal data: what was decrypted, and dead letters, which quote what could not be read."""
