"""What is left of a delivery about several people once somebody is taken out of it."""

from collections.abc import Callable
from dataclasses import replace

import orjson

from infra.ingest_seals import Taken


def without(taken: Taken, names: Callable[[bytes], bool]) -> Taken | None:
    """The delivery without those elements of its JSON array that `names` says name somebody, and without its headers.

    None when it is no such array or none of them does, for then nobody can say where what is about others begins; and
    when nothing is left.
    """
    try:
        elements = orjson.loads(taken.body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(elements, list):
        return None
    left = [element for element in elements if not names(orjson.dumps(element))]
    return replace(taken, headers={}, body=orjson.dumps(left)) if 0 < len(left) < len(elements) else None
