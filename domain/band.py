"""How engaged somebody is, in one word: what a score of 0 to 100 means to those who are not shown its history."""

from typing import Literal

Band = Literal["cold", "warm", "hot"]

WARM_FROM, HOT_FROM = 20.0, 60.0
"""The score from which on a person is warm, or hot. A click alone makes 26, a reply alone 63, and either decays."""


def band_of(score: float) -> Band:
    """The band of a score. Whoever has none is cold."""
    if score >= HOT_FROM:
        return "hot"
    return "warm" if score >= WARM_FROM else "cold"
