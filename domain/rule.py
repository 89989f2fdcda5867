"""Pool rules: which candidates belong, as data.

A rule is three lists of predicates: `all` must hold, at least one of `any` must hold (when there are any),
none of `none` may. The membership view joins a rule's predicates with facts as rows, so no rule is ever
turned into SQL text.

    {"all": [{"tag": "python"}, {"contactable": {"channel": "email"}}], "none": [{"seniority": "intern"}]}
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.event import Purpose
from domain.policy import DEFAULT_PURPOSE, Channel, Seniority

Value = Annotated[str, Field(min_length=1, max_length=300)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Contactable(_Model):
    """Standing to be contacted on `channel` for `purpose`."""

    channel: Channel
    purpose: Purpose = DEFAULT_PURPOSE


class Predicate(_Model):
    """Exactly one condition. Text is compared without regard to case and surrounding space;
    `location` matches the whole location or one of its comma-separated parts."""

    tag: Value | None = None
    skill: Value | None = None
    role_family: Value | None = None
    source: Value | None = None
    location: Value | None = None
    seniority: Seniority | None = None
    contactable: Contactable | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and len([v for v in raw.values() if v is not None]) != 1:
            raise ValueError("a predicate names exactly one condition")
        return raw


class Rule(_Model):
    """Who belongs. An empty rule matches nobody: such a pool holds pinned candidates only."""

    all: tuple[Predicate, ...] = Field(default=(), max_length=50)
    any: tuple[Predicate, ...] = Field(default=(), max_length=50)
    none: tuple[Predicate, ...] = Field(default=(), max_length=50)


EMPTY = Rule()
