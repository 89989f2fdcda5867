"""Values of DuckDB as JSON has them. Pure."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any
from uuid import UUID

EXACT = 2**63


def plain(value: Any) -> Any:
    """Ids as 32 hexadecimal digits, bytes in hexadecimal, times in UTC, what JSON has no word for as text."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -EXACT <= value < EXACT else str(value)
        case float():
            return value if isfinite(value) else None
        case datetime():
            return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
        case date():
            return value.isoformat()
        case UUID():
            return value.hex
        case bytes():
            return value.hex()
        case Mapping():
            return {str(k): plain(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(v) for v in value]
    return str(value)


def rows(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with plain values."""
    return [{name: plain(value) for name, value in row.items()} for row in found]
