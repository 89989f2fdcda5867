"""Pool rules: which conditions there are, what is refused, and that stored rules stay readable."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.policy import Channel, Seniority
from domain.rule import Predicate, Rule

STORED = (
    '{"all":[{"tag":"python"},{"contactable":{"channel":"email","purpose":"recruiting"}}],'
    '"any":[{"location":"Berlin"},{"source":"linkedin"},{"skill":"go"},{"role_family":"data"}],'
    '"none":[{"seniority":"intern"}]}'
)
"""A rule as the ledger holds it since the first version."""

WITH_NULLS = (
    '{"tag":"python","skill":null,"role_family":null,"source":null,"location":null,"seniority":null,"contactable":null}'
)
"""The whole form of a condition of the first version, which answers and golden files show."""


def test_a_rule_stored_by_the_first_version_is_read_and_written_as_it_was() -> None:
    rule = Rule.model_validate_json(STORED)
    assert rule.all[0].tag == "python"
    assert rule.model_dump_json(exclude_none=True) == STORED
    whole = Predicate.model_validate_json(WITH_NULLS)
    assert whole == rule.all[0]
    assert whole.model_dump_json() == WITH_NULLS


texts = st.text("aeiou ÄßİΣ,-/", min_size=1, max_size=20)
names = texts.filter(str.strip)
conditions: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("tag", "skill", "role_family", "source", "location"), texts),
    "seniority": st.sampled_from(Seniority),
    "contactable": st.fixed_dictionaries({"channel": st.sampled_from(Channel)}, optional={"purpose": names}),
    "attended": names,
    "stage": names,
    "last_interaction": st.dictionaries(
        st.sampled_from(["older_than_days", "newer_than_days"]), st.integers(1, 3650), min_size=1, max_size=1
    ),
    "score_at_least": st.integers(1, 99) | st.floats(0, 100, exclude_min=True, exclude_max=True),
}
predicates = st.one_of(st.tuples(st.just(name), values) for name, values in conditions.items())


def test_there_is_a_strategy_for_every_condition() -> None:
    assert list(conditions) == list(Predicate.model_fields)


@given(predicates)
def test_every_condition_comes_back_from_its_stored_form(named: tuple[str, Any]) -> None:
    """Which names that condition and no other: the membership view takes the first name that it finds."""
    predicate = Predicate.model_validate(dict([named]))
    stored = orjson.dumps(predicate.model_dump(mode="json", exclude_none=True))
    assert list(orjson.loads(stored)) == [named[0]]
    assert Predicate.model_validate(orjson.loads(stored)) == predicate
    assert Predicate.model_validate(predicate.model_dump(mode="json")) == predicate


def refusal(predicate: Any) -> str:
    """Where and why a rule with this predicate is refused, as the answer says it."""
    with pytest.raises(ValidationError) as refused:
        Rule.model_validate({"all": [predicate]})
    first = refused.value.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


ONE = "all.0: a predicate names exactly one condition, of tag, skill, "
LAST = 'all.0.last_interaction: is either {"older_than_days": n} or {"newer_than_days": n}'


@pytest.mark.parametrize(
    ("predicate", "sentence"),
    [
        ({}, ONE),
        ([], ONE),
        ("tag", ONE),
        ({"tag": None}, ONE),
        ({"tag": "a", "skill": "b"}, ONE),
        ({"stage": "offer", "last_interaction": {"older_than_days": 3}}, ONE),
        ({"age": "40"}, "all.0: there is no condition 'age'; a predicate names one of tag, skill, "),
        ({"tag": "a", "a\nb": None}, "all.0: there is no condition 'a\\nb'; "),
        ({"attended": " "}, "all.0.attended: is blank"),
        ({"attended": "ada@example.com"}, "all.0.attended: is stored unencrypted"),
        ({"stage": ""}, "all.0.stage: "),
        ({"stage": ["offer"]}, "all.0.stage: "),
        ({"last_interaction": 90}, LAST),
        ({"last_interaction": {}}, LAST),
        ({"last_interaction": {"older_than_days": None}}, LAST),
        ({"last_interaction": {"older_than_weeks": 3}}, LAST),
        ({"last_interaction": {"older_than_days": 90, "newer_than_days": 9}}, LAST),
        ({"last_interaction": {"older_than_days": 0}}, f"{LAST.partition(':')[0]}.older_than_days: "),
        ({"last_interaction": {"older_than_days": 3651}}, f"{LAST.partition(':')[0]}.older_than_days: "),
        ({"last_interaction": {"newer_than_days": 1.5}}, f"{LAST.partition(':')[0]}.newer_than_days: "),
        ({"last_interaction": {"newer_than_days": True}}, f"{LAST.partition(':')[0]}.newer_than_days: "),
        ({"last_interaction": {"newer_than_days": "90"}}, f"{LAST.partition(':')[0]}.newer_than_days: "),
        *(({"score_at_least": bad}, "all.0.score_at_least: ") for bad in (0, -1, 100, "40", True, float("nan"))),
        ({"score_at_least": 10**400}, "all.0.score_at_least: "),
    ],
)
def test_an_ill_formed_predicate_is_refused_in_one_sentence_that_says_where(predicate: Any, sentence: str) -> None:
    told = refusal(predicate)
    assert told.startswith(sentence)
    assert "\n" not in told
