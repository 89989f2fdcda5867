"""The arithmetic of what encryption costs an import."""

import pytest

from tests.benchmarks.sealing_cost import Import, share, share_of_cpu


def imports(*rates: float) -> list[Import]:
    """One a round; a core was busy all the time."""
    return [Import(rate, 1e6 / rate) for rate in rates]


def test_a_fifth_slower_is_a_fifth() -> None:
    assert share(imports(1_000), imports(800)) == pytest.approx(0.2)
    assert share_of_cpu(imports(1_000), imports(800)) == pytest.approx(0.2)


def test_rounds_are_compared_with_themselves_so_that_a_slow_hour_changes_nothing() -> None:
    assert share(imports(1_000, 500, 100), imports(900, 450, 90)) == pytest.approx(0.1)


def test_one_disturbed_round_does_not_decide() -> None:
    without, with_ = imports(1_000, 1_000, 1_000), imports(900, 900, 10)
    assert share(without, with_) == pytest.approx(0.1)
    assert share_of_cpu(without, with_) == pytest.approx(0.1)


def test_what_gained_counts_below_nothing() -> None:
    assert share(imports(1_000), imports(1_250)) == pytest.approx(-0.25)


def test_a_round_that_is_missing_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="zip"):
        share(imports(1_000, 1_000), imports(900))
