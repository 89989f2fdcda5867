"""What each role may do in SQL."""

from api.http.roles import Role
from api.sql.rights import Rights

_OPEN, _ALL = ("main",), ("main", "pii", "ops")

RIGHTS: dict[Role, Rights] = {
    #                      schemas  seconds  rows       bytes of the answer  memory
    Role.ANALYST: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.RECRUITER: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.SERVICE: Rights(_OPEN, 60.0, 1_000_000, 250_000_000, "512MB"),
    Role.COMPLIANCE: Rights(_ALL, 300.0, 5_000_000, 1_000_000_000, "1GB"),
    Role.ADMIN: Rights(_ALL, 300.0, 5_000_000, 1_000_000_000, "1GB"),
}
"""A recruiter sees personal data person by person, in profile and timeline, and not by the table."""
