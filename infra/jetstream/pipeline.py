"""Many requests in flight, but not all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def pipelined(items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], at_once: int) -> list[Result]:
    """The results of `work` for every item, in their order. The first error ends the rest and is raised."""
    everything = list(items)
    waiting = iter(enumerate(everything))
    results: dict[int, Result] = {}

    async def labour() -> None:
        for number, item in waiting:
            results[number] = await work(item)

    tasks = [asyncio.create_task(labour()) for _ in range(min(at_once, len(everything)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [results[number] for number in range(len(results))]
