"""How long data is kept and how soon things must be done, by jurisdiction: data with its sources, and its form.

A person's jurisdiction is the latest that their profile names, else that of the setting. One that the policy does not
have, and a value that a jurisdiction does not state, is that of `EU`. Times in months end as in `domain.request`: with
the day of the same number (Regulation 1182/71, Art. 3).
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import Refused
from domain.event import Name

GENERAL = "EU"
MAX_TOML_CHARS = 200_000


class PolicyRefused(Refused):
    """The policy is not TOML, or says something that cannot be applied; names file and line."""

    code = "invalid-policy"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Sentence = Annotated[str, Field(min_length=1, max_length=1_000)]


class Value(_Strict):
    """One figure and where it is from. `confirmed`: what was read on `looked_up` says so; if not, `note` says why it
    stands here."""

    value: Annotated[int, Field(ge=0, le=1_200)]
    source: Sentence
    source_date: date
    looked_up: date
    confirmed: bool
    note: Sentence | None = None


class Terms(_Strict):
    """What holds in a jurisdiction, complete. The unit is in each name."""

    retention_months: Annotated[Value, Field(description="kept after the last act of the person")]
    rejected_months: Annotated[Value, Field(description="kept after a rejection, without consent to stay in touch")]
    notice_months: Annotated[Value, Field(description="to tell a person whose data came from elsewhere")]
    opt_out_hours: Annotated[Value, Field(description="to honour an opt-out")]
    consent_refresh_months: Annotated[Value, Field(description="after which consent should be asked for again")]
    tell_recipients_days: Annotated[Value, Field(description="to tell recipients of rectification or restriction")]


class Jurisdiction(_Strict):
    """A law, with the values it has of its own."""

    name: Name
    retention_months: Value | None = None
    rejected_months: Value | None = None
    notice_months: Value | None = None
    opt_out_hours: Value | None = None
    consent_refresh_months: Value | None = None
    tell_recipients_days: Value | None = None


class Controller(_Strict):
    """Who is responsible (Art. 30(1)(a) GDPR)."""

    name: Sentence
    contact: Sentence
    data_protection_officer: Sentence


class Purpose(_Strict):
    """What data is used for, on which basis (Art. 30(1)(b))."""

    name: Name
    description: Sentence
    basis: Sentence
    articles: Sentence


class Recipients(_Strict):
    """Who is given data, and in which third countries (Art. 30(1)(d), (e))."""

    category: Sentence
    receives: Sentence
    third_countries: Sentence


class Policy(_Strict):
    """The policy of one controller. `jurisdictions` are by ISO 3166-1 alpha-2 code, and `EU`, which is complete."""

    version: Annotated[Name, Field(max_length=40)]
    controller: Controller
    purposes: tuple[Purpose, ...]
    recipients: tuple[Recipients, ...]
    jurisdictions: dict[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], Jurisdiction]

    @classmethod
    def from_toml(cls, text: str, name: str = "the policy") -> Self:
        """The policy that `text` describes; `name` is the file's. Raises PolicyRefused with name and line."""
        if len(text) > MAX_TOML_CHARS:
            raise PolicyRefused(f"{name}: a policy has at most {MAX_TOML_CHARS:,} characters, this text {len(text):,}")
        text = text.removeprefix("\ufeff")
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            raise PolicyRefused(
                f"{name}{':' + found[1] if found else ''}: not TOML: {_in_a_line(str(error))}"
            ) from None
        except (ValueError, RecursionError):
            raise PolicyRefused(f"{name}: nested too deeply, or a number too long to be read") from None
        try:
            policy = cls.model_validate(_as_tuples(document))
        except ValidationError as error:
            raise PolicyRefused(_sentence(error, text, name)) from None
        policy._check_general(name)
        return policy

    def _check_general(self, name: str) -> None:
        general = self.jurisdictions.get(GENERAL)
        missing = [v for v in Terms.model_fields if general is None or getattr(general, v) is None]
        if missing:
            raise PolicyRefused(
                f"{name}: jurisdictions.{GENERAL}.{missing[0]} is missing; {GENERAL} states every value"
            )

    def terms(self, jurisdiction: str | None) -> Terms:
        """What holds there; what holds in `EU` for a jurisdiction that the policy does not have."""
        general = self.jurisdictions[GENERAL]
        own = self.jurisdictions.get(jurisdiction or GENERAL, general)
        return Terms(**{v: getattr(own, v) or getattr(general, v) for v in Terms.model_fields})

    def require(self, jurisdiction: str) -> None:
        """Raises PolicyRefused when the policy does not have it."""
        if jurisdiction not in self.jurisdictions:
            known = ", ".join(sorted(self.jurisdictions))
            raise PolicyRefused(
                f"RAPPORT_JURISDICTION: the policy has no jurisdiction {jurisdiction[:20]!r}, but {known}"
            )


UNITS = {name: name.rsplit("_", 1)[1] for name in Terms.model_fields}
"""The unit of each value."""


@cache
def default_toml() -> str:
    """The policy that comes with Rapport, as TOML: what another one can start from."""
    return files(__package__).joinpath("compliance_policy.toml").read_text("utf-8")


@cache
def default_policy() -> Policy:
    """The policy that comes with Rapport."""
    return Policy.from_toml(default_toml(), "compliance_policy.toml")


def _as_tuples(value: Any) -> Any:
    """Arrays as tuples, which is what a frozen model holds."""
    if isinstance(value, Mapping):
        return {key: _as_tuples(part) for key, part in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _sentence(error: ValidationError, text: str, name: str) -> str:
    """The first problem, with the line; a field that there is not comes before one that is missing for it."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = min(found, key=lambda problem: problem["type"] != "extra_forbidden")
    place = [part for part in first["loc"] if part != "[key]"]
    message = {
        "missing": "is missing",
        "extra_forbidden": "is not something that a policy says there",
        "string_pattern_mismatch": "must be a line of text; a jurisdiction two capital letters (ISO 3166-1 alpha-2)",
    }.get(first["type"], re.sub(r"^Input should", "must", first["msg"]))
    line = _line_of(text, place)
    where = ".".join(_in_a_line(str(part), 60) for part in place) or "policy"
    return f"{name}{f':{line}' if line else ''}: {where}: {message}"


def _line_of(text: str, place: list[int | str]) -> int | None:
    """The line of the key at `place`, or of the nearest table above it that is written down."""
    names = [part for part in place if isinstance(part, str)]
    number = next((part for part in place if isinstance(part, int)), 0)
    lines, best, depth, table, arrays = text.splitlines(), None, -1, list[str](), dict[str, int]()
    for at, line in enumerate(lines, 1):
        if header := re.match(r"\s*\[(\[?)\s*([^\]]+?)\s*\]", line):
            table = [part.strip().strip("\"'") for part in header[2].split(".")]
            here = table
            if header[1]:
                arrays[header[2]] = arrays.get(header[2], -1) + 1
        elif key := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            here = [*table, *(part.strip("\"'") for part in key[1].split("."))]
        else:
            continue
        if names[: len(here)] == here and len(here) > depth and arrays.get(table[0] if table else "", number) == number:
            best, depth = at, len(here)
    return best


def _in_a_line(text: str, most_chars: int = 200) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:most_chars])
