"""An export of the mirror as Parquet files, and how a command puts a file where somebody wants it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from api.cli import output
from api.cli.client import Client
from api.failures import FileRefused
from infra.replacing import replacing

CHUNK_BYTES = 1_000_000
MANIFEST = "manifest.json"
NOTE_EVERY = 50
"""Files after which the manifest is written; what an interrupted export did since is done again."""

Manifest = dict[str, Any]


def export(client: Client, folder: Path, shards: int, *, quiet: bool) -> dict[str, Any]:
    """Brings `folder` up to date: `day=2026-03-01/shard=00/events.parquet`, and `manifest.json`.

    Each file is there whole or not at all. What has not changed since the manifest was written is left alone; what is
    not there any more in the mirror is removed. Raises RequestRefused or FileRefused.
    """
    listing = client.get("/v1/export/parts", shards=shards)
    before = _manifest(folder)
    _check(before, listing, shards, folder)
    known = before["parts"] if before.get("columns") == listing["columns"] else {}
    now: Manifest = {"format": 1, "shards": shards, "until": listing["until"], "columns": listing["columns"]}
    now["parts"] = done = {}
    written = 0
    with output.progress(quiet) as bar:
        task = bar.add_task("export", total=sum(part["events"] for part in listing["parts"]))
        for part in listing["parts"]:
            name = f"day={part['day']}/shard={part['shard']}/events.parquet"
            entry = {"events": part["events"], "last_seq": part["last_seq"]}
            size = _size(folder / name)
            if size is None or known.get(name) != entry | {"bytes": size}:
                size = _write(client, folder / name, part, shards, listing["until"])
                written += 1
            done[name] = entry | {"bytes": size}
            if written % NOTE_EVERY == 1:
                _note(folder, now | {"parts": known | done, "until": before.get("until", 0)})
            bar.advance(task, part["events"])
    for name in before["parts"].keys() - done.keys():
        (folder / name).unlink(missing_ok=True)
    _note(folder, now)
    total = sum(entry["bytes"] for entry in done.values())
    return {"until": now["until"], "parts": len(done), "written": written, "size_bytes": total}


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """`replacing`, with folders made as needed. Raises FileRefused, with what was there before left as it was."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside:
            yield beside
    except OSError as error:
        raise FileRefused(f"{target} cannot be written: {error.strerror}") from None


def _write(client: Client, target: Path, part: dict[str, Any], shards: int, until: int) -> int:
    """One part; its size in bytes."""
    asked = {"day": part["day"], "shard": part["shard"], "shards": shards, "until": until}
    with client.stream("GET", "/v1/export/events.parquet", **asked) as answer, writing(target) as beside:
        with beside.open("wb") as file:
            file.writelines(answer.iter_bytes(CHUNK_BYTES))
        return beside.stat().st_size


def _manifest(folder: Path) -> Manifest:
    """What an earlier export left. Raises FileRefused when it cannot be read."""
    path = folder / MANIFEST
    try:
        found = orjson.loads(path.read_bytes())
        if found["format"] == 1 and isinstance(found["parts"], dict):
            return dict(found)
    except FileNotFoundError:
        return {"parts": {}}
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise FileRefused(f"{path} is no manifest of an export; choose another folder, or remove it to write all anew")


def _check(before: Manifest, listing: dict[str, Any], shards: int, folder: Path) -> None:
    """Two exports are never mixed. Raises FileRefused."""
    if "shards" in before and before["shards"] != shards:
        raise FileRefused(f"{folder} holds an export by {before['shards']} shards; use as many, or another folder")
    if before.get("until", 0) > listing["until"]:
        raise FileRefused(
            f"{folder} holds an export up to event {before['until']:,}, beyond this ledger's; choose another folder"
        )


def _note(folder: Path, manifest: Manifest) -> None:
    with writing(folder / MANIFEST) as beside:
        beside.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
