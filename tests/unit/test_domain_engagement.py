"""The engagement model as data: what the one in force says, and which others are taken or refused."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain import candidate
from domain.engagement import ENGAGEMENT_MODEL, V1, Act, EngagementModel
from domain.errors import InvalidModel

ACTS = get_args(Act)


def test_the_model_in_force_is_the_one_the_design_names() -> None:
    assert ENGAGEMENT_MODEL.model_dump(mode="json") == {
        "version": "v1",
        "half_life_days": 60.0,
        "saturation_points": 10.0,
        "machine_within_s": 2.0,
        "weight_points": {
            **{"replied": 10.0, "event_attended": 8.0, "applied": 8.0, "preferences_updated": 5.0, "clicked": 3.0},
            **{"opened": 1.0, "emailed": 0.0, "bounced": -2.0, "complained": -20.0},
        },
    }


def test_every_act_that_scores_is_a_type_of_event_and_has_a_weight() -> None:
    assert set(ACTS) <= candidate.EVENTS.keys()
    assert set(ACTS) == ENGAGEMENT_MODEL.weight_points.keys()


def test_a_model_does_not_change() -> None:
    with pytest.raises(ValidationError):
        ENGAGEMENT_MODEL.half_life_days = 30


positive = st.floats(0, 1e6, exclude_min=True) | st.integers(1, 10**6)
models = st.builds(
    EngagementModel,
    version=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(str.strip),
    half_life_days=positive,
    saturation_points=positive,
    machine_within_s=st.floats(0, 86_400),
    weight_points=st.dictionaries(st.sampled_from(ACTS), st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6)),
)


def toml(model: EngagementModel) -> str:
    """The model as a person would write it."""
    fields = model.model_dump(mode="json")
    points = fields.pop("weight_points")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join([*lines, "[weight_points]", *(f"{act} = {value!r}" for act, value in points.items()), ""])


@given(models)
def test_a_model_written_as_toml_is_read_as_the_same_model(model: EngagementModel) -> None:
    assert EngagementModel.from_toml(toml(model)) == model


def test_line_ends_and_a_byte_order_mark_of_windows_are_taken() -> None:
    assert EngagementModel.from_toml("\ufeff" + V1.replace("\n", "\r\n")) == ENGAGEMENT_MODEL


@pytest.mark.parametrize(
    ("part", "instead", "sentence"),
    [
        (V1, "", "version: is missing"),
        ("half_life_days = 60\n", "", "half_life_days: is missing"),
        ("half_life_days", "half_life", "half_life: is not a field of a model; these are version, half_life_days, "),
        ("[weight_points]", "[weights]", "weights: is not a field of a model"),
        ("replied =", "hugged =", "weight_points.hugged: is not an act that scores; these are replied, "),
        ("replied =", '"a\\nb" =', "weight_points.a?b: is not an act that scores"),
        ("replied = 10", "replied = 10\nreplied = 12", "the model is not TOML: Cannot overwrite a value (at line 8"),
        ("= 60", "60", "the model is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 16)"),
        ("= 60", "= -60", "half_life_days: must be greater than 0"),
        ("= 60", "= 0", "half_life_days: must be greater than 0"),
        ("= 60", "= nan", "half_life_days: must be a finite number"),
        ("= 60", "= inf", "half_life_days: must be a finite number"),
        ("= 60", '= "60"', "half_life_days: must be a valid number"),
        ("= 60", "= true", "half_life_days: must be a valid number"),
        ("= 60", "= 2026-03-01", "half_life_days: must be a valid number"),
        ("= 60", "= 1" + "0" * 400, "half_life_days: must be a valid number"),
        ("= 60", "= 1" + "0" * 5000, "the model is nested too deeply, or holds a number too long to be read"),
        ("= 60", "= " + "[" * 9000, "the model is nested too deeply, or holds a number too long to be read"),
        ("saturation_points = 10", "saturation_points = -1", "saturation_points: must be greater than 0"),
        ("machine_within_s = 2", "machine_within_s = -1", "machine_within_s: must be greater than or equal to 0"),
        ("machine_within_s = 2", "machine_within_s = 1e9", "machine_within_s: must be less than or equal to 86400"),
        ("= -20", "= -inf", "weight_points.complained: must be a finite number"),
        ("= -20", "= [1]", "weight_points.complained: must be a valid number"),
        ('"v1"', "1", "version: must be a valid string"),
        ('"v1"', '" "', "version: must be one line that is not blank"),
        ('"v1"', '"' + "v" * 41 + '"', "version: must have at most 40 characters"),
        (V1, "#" * 20_001, "a model has at most 20,000 characters, this text 20,001"),
    ],
)
def test_a_model_that_scores_cannot_be_computed_with_is_refused_by_line_or_field(
    part: str, instead: str, sentence: str
) -> None:
    assert part in V1
    with pytest.raises(InvalidModel) as refusal:
        EngagementModel.from_toml(V1.replace(part, instead, 1))
    assert str(refusal.value).startswith(sentence)


pieces = st.sampled_from([*V1.splitlines(keepends=True), "\x00", "\n", "=", "[", '"', "'", "nan", "1e999", "-"])


@given(st.text(max_size=60) | st.lists(pieces | st.text(max_size=5), max_size=20).map("".join))
def test_no_text_ends_in_anything_but_a_model_or_one_sentence(text: str) -> None:
    try:
        EngagementModel.from_toml(text)
    except InvalidModel as refusal:
        assert str(refusal).isprintable()
