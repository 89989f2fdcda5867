"""What the routes answer with, for the API's description; a test compares the two.

An answer is what its query gives, and is not made anew from these: what stands here is promised, and more may come.
"""

from typing import Any

from pydantic import BaseModel


def answers(model: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route that answers with that model, or type made of models."""
    return {status: {"model": model}}


def recorded_or_known(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Of a route that answers 201 when something is new, and 200 when it was known already."""
    return answers(model, status=201) | {200: {"model": model, "description": "known already: nothing was recorded"}}
