"""How often a caller may ask."""

from hypothesis import given
from hypothesis import strategies as st

from api.http.rate import MOST_KEPT, Rate, TooOften


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def takes(rate: Rate, who: str) -> bool:
    try:
        rate.take(who)
    except TooOften as error:
        assert error.retry_after_s >= 1
        return False
    return True


@given(
    per_s=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_no_more_pass_than_the_burst_and_what_has_come_in_since(per_s: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    rate = Rate(per_s, burst, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += takes(rate, "a")
        assert passed <= burst + clock.now * per_s + 1e-6


def test_whoever_waits_as_long_as_told_is_taken_again_and_nobody_else_is_held_up() -> None:
    clock = Clock()
    rate = Rate(0.5, 2, clock)
    assert [takes(rate, "a") for _ in range(4)] == [True, True, False, False]
    assert takes(rate, "b")
    clock.now += 1.9
    assert not takes(rate, "a")
    clock.now += 0.2
    assert takes(rate, "a")


def test_a_rate_of_none_takes_everybody_and_strangers_do_not_fill_the_memory() -> None:
    assert all(takes(Rate(0, 1), "a") for _ in range(100))
    rate = Rate(1, 1, Clock())
    for number in range(MOST_KEPT + 50):
        rate.take(str(number))
    assert len(rate._left) == MOST_KEPT
