"""The engagement model: what each act is worth, how that fades, and what it adds up to. Data, not code.

Raw score at T = sum of weight_points * 2^(-(T - t) / half_life_days), over the acts that count, each at its t. The
score is 100 * (1 - e^(-raw / saturation_points)), shown as 0 where it is below.
"""

import re
import tomllib
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import InvalidModel
from domain.event import Name

Act = Literal[
    "replied",
    "event_attended",
    "applied",
    "preferences_updated",
    "clicked",
    "opened",
    "emailed",
    "bounced",
    "complained",
]
"""The types of events that can score. Of opens and clicks those by people count, once a message and once a link."""

Points = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]

MAX_TOML_CHARS = 20_000


class EngagementModel(BaseModel):
    """Weights per act, and how they fade. The limits leave out what arithmetic could not finish.

    `half_life_days`: an act is worth half of its points so much later. `saturation_points`: a raw score so high shows
    as 63. `machine_within_s`: an open or click that follows its sending within so many seconds was a machine's.
    `weight_points`: types that are absent add nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Annotated[Name, Field(max_length=40)]
    half_life_days: Positive
    saturation_points: Positive
    machine_within_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    weight_points: dict[Act, Points]

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """The model that `text` describes, in the form of V1; every field is to be there.

        Raises InvalidModel with one sentence that names the line, where it is not TOML, or else the field.
        """
        if len(text) > MAX_TOML_CHARS:
            raise InvalidModel(f"a model has at most {MAX_TOML_CHARS:,} characters, this text {len(text):,}")
        try:
            return cls.model_validate(tomllib.loads(text.removeprefix("\ufeff")))
        except ValidationError as error:
            raise InvalidModel(_sentence(error)) from None
        except tomllib.TOMLDecodeError as error:
            raise InvalidModel(f"the model is not TOML: {_in_a_line(str(error), 200)}") from None
        except (ValueError, RecursionError):
            raise InvalidModel("the model is nested too deeply, or holds a number too long to be read") from None


def _sentence(error: ValidationError) -> str:
    """The first problem by field name; a field that there is not, before the one that is missing for it."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = min(found, key=lambda problem: problem["type"] != "extra_forbidden")
    names = [str(part) for part in first["loc"] if part != "[key]"]
    message = {
        "missing": "is missing; a model says everything",
        "extra_forbidden": f"is not a field of a model; these are {', '.join(EngagementModel.model_fields)}",
        "literal_error": f"is not an act that scores; these are {', '.join(get_args(Act))}",
        "string_pattern_mismatch": "must be one line that is not blank",
    }.get(first["type"], re.sub(r"^(Input|String) should", "must", first["msg"]))
    return f"{'.'.join(_in_a_line(name, 60) for name in names)}: {message}"


def _in_a_line(text: str, most_chars: int) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:most_chars])


V1 = """\
version = "v1"
half_life_days = 60
saturation_points = 10
machine_within_s = 2

[weight_points]
replied = 10
event_attended = 8
applied = 8
preferences_updated = 5
clicked = 3
opened = 1
emailed = 0
bounced = -2
complained = -20
"""
"""The model in force, as TOML: what another one, for a what-if, can start from."""

ENGAGEMENT_MODEL = EngagementModel.from_toml(V1)
"""The model in force."""
