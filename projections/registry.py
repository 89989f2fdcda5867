"""The views there are: a folder with a `view.toml` and a `view.sql` is one. Each comes after those it depends on."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from projections.view import MANIFEST, Manifest, View, ViewRefused, read


def discover(
    folder: Path, known: Sequence[View] = (), package: str | None = None, refused: list[ViewRefused] | None = None
) -> tuple[View, ...]:
    """The views in the subfolders of `folder`, which may depend on each other and on the `known` ones, in order.

    A view of `package` may say in its module what else its contents depend on: `CONSTANTS` and `prepare`.

    Refuses a folder that is none, a name used twice, a dependency that is not there, and a circle: into `refused`, or
    by raising ViewRefused when there is no such list.
    """
    refusals: list[ViewRefused] = []
    texts = _read_all(folder, {view.name for view in known}, refusals)
    found = {view.name: view for view in known}
    while texts:
        ready = [n for n, (_, manifest, _, _) in texts.items() if all(d in found for d in manifest.depends_on)]
        if not ready:
            for name, (_, manifest, _, _) in texts.items():
                missing = ", ".join(d for d in manifest.depends_on if d not in found)
                where = folder / name / MANIFEST
                refusals.append(ViewRefused(where, f"it depends on {missing}: not there, or in a circle"))
            break
        for name in ready:
            _, manifest, text, query = texts.pop(name)
            module: Any = importlib.import_module(f"{package}.{name}") if package else None
            extras = {k: v for k, v in _extras(module).items() if v is not None}
            below = tuple(found[d] for d in manifest.depends_on)
            found[name] = View(name, manifest, query, folder / name, text, below, **extras)
    if refusals and refused is None:
        raise refusals[0]
    if refused is not None:
        refused += refusals
    return tuple(found.values())[len(known) :]


def _read_all(folder: Path, taken: set[str], refusals: list[ViewRefused]) -> dict[str, tuple[str, Manifest, str, str]]:
    texts = {}
    for path in sorted(folder.glob("*/" + MANIFEST)):
        try:
            if path.parent.name in taken:
                raise ViewRefused(path, f"there is a view {path.parent.name!r} already")
            texts[path.parent.name] = read(path.parent)
        except ViewRefused as error:
            refusals.append(error)
    return texts


def _extras(module: Any) -> dict[str, Any]:
    return {"constants": getattr(module, "CONSTANTS", None), "prepare": getattr(module, "prepare", None)}


VIEWS = discover(Path(__file__).parent, package=__package__)
"""The views that come with Rapport."""


def resting_on(view: View, views: Iterable[View]) -> tuple[View, ...]:
    """`view` and every one of `views` whose contents rest on it, in order."""
    found: list[View] = []
    for candidate in views:
        if candidate.name == view.name or any(d.name == f.name for d in candidate.depends_on for f in found):
            found.append(candidate)
    return tuple(found)
