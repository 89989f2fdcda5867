"""Which providers' webhooks are taken, and by which secrets: a TOML file for its owner only.

    [sendgrid]
    secrets = ["the newest", "the one before, while it is being replaced"]

The file is read again when it has changed, so that a secret can be replaced while the node runs.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

MOST = 5
SHORTEST = 16
"""Characters of a secret; what is shorter could be guessed."""
FINGERPRINT = 12

Version = tuple[int, int, int]


class WebhooksRefused(Exception):
    """The file, or what should go into it, is of no use; one sentence with the way out."""


class WebhookSecrets:
    """Those of one node. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Raises WebhooksRefused."""
        self._path = path
        self._lock = Lock()
        self._version: Version | None = None
        self._secrets: dict[str, tuple[str, ...]] = {}
        self.failure: str | None = None
        """Why the file as it is now is not used; None when it is."""
        self._secrets = self._read()
        self._version = self._stat()

    def of(self, provider: str) -> tuple[str, ...]:
        """A provider's secrets, the newest first; empty when nothing of it is taken."""
        if self._stat() != self._version:
            with self._lock:
                self._look_again()
        return self._secrets.get(provider, ())

    def all(self) -> Mapping[str, Sequence[str]]:
        """Every provider's that is taken."""
        self.of("")
        return dict(self._secrets)

    def add(self, provider: str, secret: str) -> None:
        """Takes `secret` as the newest. Raises WebhooksRefused."""
        if len(secret) < SHORTEST or not "".join(secret.splitlines()).isprintable():
            raise WebhooksRefused(f"a secret has {SHORTEST} printable characters or more")
        with self._lock:
            secrets = self._read()
            others = [known for known in secrets.get(provider, ()) if known != secret]
            if len(others) >= MOST:
                raise WebhooksRefused(f"there are {MOST} secrets already; remove one with its fingerprint first")
            self._write(secrets | {provider: (secret, *others)})

    def remove(self, provider: str, fingerprint: str | None = None) -> int:
        """Removes the one secret, or all; how many were removed. Raises WebhooksRefused."""
        with self._lock:
            secrets = self._read()
            before = secrets.get(provider, ())
            left = tuple(s for s in before if fingerprint is not None and fingerprint_of(s) != fingerprint)
            secrets[provider] = left
            self._write({name: found for name, found in secrets.items() if found})
            return len(before) - len(left)

    def _look_again(self) -> None:
        """Keeps to what there was while the file cannot be used: a slip must not turn providers away."""
        version = self._stat()
        try:
            self._secrets = self._read()
            self.failure = None
        except WebhooksRefused as error:
            self.failure = str(error)
        self._version = version

    def _stat(self) -> Version | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> dict[str, tuple[str, ...]]:
        try:
            if self._path.stat().st_mode & 0o077:
                raise WebhooksRefused(f"{self._path} can be read by others; say `chmod 600` to it")
            document = tomllib.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise WebhooksRefused(f"{self._path} cannot be read as TOML ({type(error).__name__})") from None
        found = {}
        for provider, table in document.items():
            secrets = table.get("secrets") if isinstance(table, dict) and table.keys() == {"secrets"} else None
            if not isinstance(secrets, list) or not all(isinstance(s, str) and len(s) >= SHORTEST for s in secrets):
                raise WebhooksRefused(
                    f"{self._path}: [{provider}] has a list `secrets` of texts of {SHORTEST} characters or more, "
                    "and nothing else"
                )
            found[provider] = tuple(secrets)
        return found

    def _write(self, secrets: Mapping[str, Sequence[str]]) -> None:
        lines = [
            f"[{provider}]\nsecrets = {json.dumps(list(found), ensure_ascii=False)}\n"
            for provider, found in sorted(secrets.items())
        ]
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise WebhooksRefused(f"{self._path} cannot be written: {error.strerror}") from None
        self._look_again()


def fingerprint_of(secret: str) -> str:
    """By which a secret is named without being shown."""
    return hashlib.sha256(b"rapport webhook secret|" + secret.encode("utf-8", "surrogatepass")).hexdigest()[
        :FINGERPRINT
    ]
