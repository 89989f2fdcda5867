"""`resume.json`: the profile as a JSON Resume, schema 1.0.0, with the fields that are known. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

SCHEMA = "https://raw.githubusercontent.com/jsonresume/resume-schema/v1.0.0/schema.json"

NETWORKS = {
    "linkedin.com": "LinkedIn",
    "github.com": "GitHub",
    "gitlab.com": "GitLab",
    "xing.com": "XING",
    "x.com": "X",
    "twitter.com": "Twitter",
}


def resume(profile: dict[str, Any], made_at: datetime) -> dict[str, Any]:
    """Of a profile, as the view of that name has it. What is not known is not there.

    A location is an `address`, for nobody said that it is a city.
    """
    identifiers = profile.get("identifiers") or []
    basics = {
        "name": " ".join(n for n in (profile.get("first_name"), profile.get("last_name")) if n),
        "label": profile.get("headline"),
        "email": next(iter(_of("email", identifiers)), None),
        "phone": next(iter(_of("phone", identifiers)), None),
        "location": _known({"address": profile.get("location")}),
        "profiles": [_profile(link) for link in _of("profile", identifiers)],
    }
    document = {
        "$schema": SCHEMA,
        "basics": _known(basics),
        "work": [{"name": profile["employer"]}] if profile.get("employer") else None,
        "skills": [{"name": skill} for skill in profile.get("skills") or ()],
        "meta": {"version": "v1.0.0", "lastModified": made_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")},
    }
    return _known(document)


def _of(kind: str, identifiers: Sequence[str]) -> list[str]:
    return [i.partition(":")[2] for i in identifiers if i.partition(":")[0] == kind]


def _profile(link: str) -> dict[str, str]:
    host, _, path = link.partition("/")
    network = NETWORKS.get(host.removeprefix("www."), host)
    name = path.rstrip("/").rpartition("/")[2]
    return {"network": network} | ({"username": name} if name else {}) | {"url": f"https://{link}"}


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v not in (None, "", [], {})}
