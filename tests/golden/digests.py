"""What makes a golden file final: its digest in `SHA256SUMS`, a list that only grows, and the history of both.

`sha256sum -c SHA256SUMS`, in this folder, says the same without Python.
"""

import hashlib
import subprocess
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).parent
FINAL = "a golden file is final: restore it, and give what you want to store a version of its own"


def record(folder: Path, name: str) -> None:
    """Adds the digest of a new golden file behind all others."""
    with (folder / "SHA256SUMS").open("a", encoding="utf-8") as sums:
        sums.write(f"{_digest(folder / name)}  {name}\n")


def faults(folder: Path) -> list[str]:
    """What is not as the digests say: files edited, removed, renamed, or added without a digest; one sentence each."""
    lines = (folder / "SHA256SUMS").read_text("utf-8").splitlines()
    entries = [line.split("  ", 1) for line in lines]
    known = {name: digest for digest, name in entries}
    there = {path.relative_to(folder).as_posix() for path in (folder / "events").iterdir()}
    found = [f"{name} has two digests; {FINAL}" for name, times in Counter(n for _, n in entries).items() if times > 1]
    for name in sorted(known.keys() | there):
        if name not in there:
            found.append(f"{name} is gone; {FINAL}")
        elif name not in known:
            found.append(f"{name} has no digest; write golden files with: python -m tests.golden.write")
        elif _digest(folder / name) != known[name]:
            found.append(f"{name} is not what it was; {FINAL}")
    return found


def rewritten(repository: Path, folder: str) -> list[str]:
    """The commits behind HEAD that changed or removed a golden file, or a line of the list; one sentence each.

    `folder` is the path of this folder in the repository.
    """
    log = ("log", "-m", "--no-renames", "--format=commit %h")
    touched = _git(repository, *log, "--name-only", "--diff-filter=DMT", "--", f"{folder}/events")
    changed = _git(repository, *log, "--patch", "--unified=0", "--", f"{folder}/SHA256SUMS")
    found = []
    commit = ""
    for line in (*touched, *changed):
        if line.startswith("commit "):
            commit = line
        elif line.startswith(f"{folder}/events/"):
            found.append(f"{commit} changed {line}; {FINAL}")
        elif line.startswith("-") and not line.startswith("---"):
            found.append(f"{commit} changed the digest of {line.partition('  ')[2]}; {FINAL}")
    return found


def whole_history(repository: Path) -> bool:
    """Whether git knows this folder and all its commits, which a shallow clone or an archive does not."""
    try:
        return _git(repository, "rev-parse", "--is-shallow-repository", "--verify", "HEAD")[:1] == ["false"]
    except (FileNotFoundError, subprocess.CalledProcessError):
        return False


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(repository: Path, *arguments: str) -> list[str]:
    asked = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=True)
    return asked.stdout.decode().splitlines()
