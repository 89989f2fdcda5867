"""What the embedded nats-server keeps beside its store: logins, whom it lets in, and what older folders call it."""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path

ACCOUNT = "RAPPORT"
"""The account that the streams are in. It needs a name, for nothing can be exported from the one without."""
NAMELESS = "$G"
"""What the server calls that one, in which the streams of older data folders are."""


def go_runtime() -> dict[str, str]:
    """The server's garbage collection: seldom, and more often only where half of the machine's memory is in use.

    The limit must be beyond what the server needs. Events of a person lie all over the log, a block is read whole to
    find one (8 MB) and kept for ten seconds: to read thousands of people's events makes it hold gigabytes. Below a
    limit that is too tight for them it spends its time collecting (1 GiB, 5,000,000 events: twelve times the work).
    """
    return {"GOGC": "200", "GOMEMLIMIT": str(_memory_bytes() // 2)}


def _memory_bytes() -> int:
    """Of this machine, or of the control group that we are in."""
    own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no control groups, or no limit: it says `max`
        return min(own, int(Path("/sys/fs/cgroup/memory.max").read_text("ascii")))
    return own


def subscribers(path: Path) -> dict[str, str]:
    """Those who were let in when the server last ran; nobody when that cannot be read: the node lets them in again."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and all(isinstance(key, str) for key in found.values()):
            return found
    return {}


def name_account(store_dir: Path) -> None:
    """Moves the streams of an older folder to the account that they are in now. No server may run on it.

    Raises FileExistsError when both accounts have streams, as when an older version ran on the folder again; neither
    is touched.
    """
    old, new = store_dir / NAMELESS, store_dir / ACCOUNT
    if not _holds_files(old):
        return
    if _holds_files(new):
        raise FileExistsError(str(old))
    if new.exists():
        shutil.rmtree(new)
    old.rename(new)


def _holds_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def logins(path: Path) -> dict[str, str]:
    """User and password of each account; what the file lacks (an older one has fewer) is made."""
    kept = json.loads(path.read_bytes()) if path.exists() else {}
    made = {
        "user": "rapport",
        "password": secrets.token_urlsafe(24),
        "system_user": "system",
        "system_password": secrets.token_urlsafe(24),
        "door_user": "door",
        "door_password": secrets.token_urlsafe(24),
    }
    if made.keys() - kept.keys():
        write_private(path, json.dumps(made | kept))
    found: dict[str, str] = made | kept
    return found


def write_private(path: Path, text: str) -> None:
    """The file appears whole, and nobody but its owner could ever read it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
