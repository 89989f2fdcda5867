"""Pool rules: which candidates belong, as data.

A rule is three lists of predicates: `all` must hold, at least one of `any` must hold (when there are any),
none of `none` may. The membership view joins a rule's predicates with facts as rows, so no rule is ever
turned into SQL text.

    {"all": [{"tag": "python"}, {"contactable": {"channel": "email"}}], "none": [{"seniority": "intern"}]}
    {"all": [{"last_interaction": {"older_than_days": 90}}, {"score_at_least": 40}], "none": [{"stage": "hired"}]}
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from domain.event import Label, Purpose
from domain.policy import DEFAULT_PURPOSE, Channel, Seniority


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank")
    return value


Value = Annotated[str, Field(min_length=1, max_length=300)]
Named = Annotated[Label, AfterValidator(_not_blank)]
"""The controller's own name of something; rules are stored in the clear."""

Days = Annotated[int, Field(ge=1, le=3650, strict=True)]
"""Whole days of 24 hours."""

Score = Annotated[float, Field(gt=0, lt=100, strict=True, allow_inf_nan=False)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_none(value: object) -> bool:
    return value is None


def _names_one(raw: Any, model: type[BaseModel]) -> bool:
    """Whether `raw` is an object in which exactly one field of `model` has a value, and which has no others."""
    return (
        isinstance(raw, dict)
        and raw.keys() <= model.model_fields.keys()
        and sum(value is not None for value in raw.values()) == 1
    )


class Contactable(_Model):
    """Standing to be contacted on `channel` for `purpose`."""

    channel: Channel
    purpose: Purpose = DEFAULT_PURPOSE


class LastInteraction(_Model):
    """How long ago, as of the time T of the question, the person's latest act was; exactly one of the two.

    An act is what the person did: what they said or answered, a link they followed, an event they attended, an
    application, a change of preferences. It is what `pii.profile.last_interaction_at` shows, as of T. Opens are none,
    nor is anything a machine did or we did.

    `older_than_days` n: the latest act was n days before T, or earlier. A person without any act counts from when
    they first became known (their first event, of whatever type). `newer_than_days` n: the latest act was less than n
    days before T; never true of a person without any act. So one of the two holds of everybody who ever acted.
    """

    older_than_days: Days | None = Field(default=None, exclude_if=_is_none)
    newer_than_days: Days | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="before")
    @classmethod
    def _one(cls, raw: Any) -> Any:
        if not isinstance(raw, cls) and not _names_one(raw, cls):
            raise ValueError('is either {"older_than_days": n} or {"newer_than_days": n}')
        return raw


class Predicate(_Model):
    """Exactly one condition, which holds of a person or not at any time T.

    `tag`: put on and not taken off since. `skill`, `role_family`, `seniority`, `location`: by the latest word on it;
    `location` matches the whole location or one of its comma-separated parts. `source`: one of those the person was
    sourced from. `contactable`: by the standing at T. `last_interaction`: see there.
    `attended`: an event of that name, from then on for good. `stage`: where any of the person's applications stands,
    each by itself (an application is told by its `job`): after `applied` the stage it gives, or "applied"; after
    `stage_changed` the stage it gives; after `rejected` "rejected"; after `hired` "hired", whatever stage these name.
    `score_at_least`: the engagement score as of T, by the model in force, before rounding, is that or more.

    Text is compared without regard to case and surrounding space.

    A condition that came later is absent from JSON where it is not meant, so that the form of older rules stays.
    """

    tag: Value | None = None
    skill: Value | None = None
    role_family: Value | None = None
    source: Value | None = None
    location: Value | None = None
    seniority: Seniority | None = None
    contactable: Contactable | None = None
    attended: Named | None = Field(default=None, exclude_if=_is_none)
    stage: Named | None = Field(default=None, exclude_if=_is_none)
    last_interaction: LastInteraction | None = Field(default=None, exclude_if=_is_none)
    score_at_least: Score | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="before")
    @classmethod
    def _one(cls, raw: Any) -> Any:
        if isinstance(raw, cls) or _names_one(raw, cls):
            return raw
        known = ", ".join(cls.model_fields)
        if isinstance(raw, dict) and (unknown := sorted(str(name) for name in raw.keys() - cls.model_fields.keys())):
            raise ValueError(f"there is no condition {unknown[0][:40]!r}; a predicate names one of {known}")
        raise ValueError(f"a predicate names exactly one condition, of {known}")


class Rule(_Model):
    """Who belongs. An empty rule matches nobody: such a pool holds pinned candidates only."""

    all: tuple[Predicate, ...] = Field(default=(), max_length=50)
    any: tuple[Predicate, ...] = Field(default=(), max_length=50)
    none: tuple[Predicate, ...] = Field(default=(), max_length=50)


EMPTY = Rule()
