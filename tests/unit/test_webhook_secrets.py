"""The file of webhook secrets: what is taken from it, what is written, and what a slip in it leads to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.webhook_secrets import MOST, WebhookSecrets, WebhooksRefused, fingerprint_of

ONE, TWO = "the-first-long-secret", "the-second-long-secret"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "webhooks.toml"


def written(path: Path, text: str) -> None:
    """As an editor does it: another file takes its place."""
    beside = path.with_name("beside")
    beside.write_text(text)
    beside.chmod(0o600)
    beside.replace(path)


def test_without_a_file_nothing_is_taken(path: Path) -> None:
    assert WebhookSecrets(path).of("sendgrid") == ()


def test_the_newest_comes_first_and_one_is_removed_by_its_fingerprint(path: Path) -> None:
    secrets = WebhookSecrets(path)
    secrets.add("sendgrid", ONE)
    secrets.add("sendgrid", TWO)
    assert secrets.of("sendgrid") == (TWO, ONE)
    secrets.add("sendgrid", ONE)
    assert secrets.of("sendgrid") == (ONE, TWO), "again, and not twice"
    assert WebhookSecrets(path).of("sendgrid") == (ONE, TWO)
    assert secrets.remove("sendgrid", fingerprint_of(ONE)) == 1
    assert secrets.remove("sendgrid", fingerprint_of(ONE)) == 0
    assert secrets.remove("sendgrid") == 1
    assert secrets.all() == {}
    assert path.stat().st_mode & 0o777 == 0o600


def test_so_many_secrets_and_no_more(path: Path) -> None:
    secrets = WebhookSecrets(path)
    for n in range(MOST):
        secrets.add("sendgrid", f"{ONE}-{n}")
    with pytest.raises(WebhooksRefused, match="remove one"):
        secrets.add("sendgrid", TWO)


@pytest.mark.parametrize("secret", ["", "short", "a-secret-with-a-bell\x07"])
def test_what_could_be_guessed_or_cannot_be_printed_is_no_secret(path: Path, secret: str) -> None:
    with pytest.raises(WebhooksRefused, match="16 printable characters"):
        WebhookSecrets(path).add("sendgrid", secret)
    assert not path.exists()


def test_a_key_in_several_lines_is_kept_as_it_is(path: Path) -> None:
    secret = '-----BEGIN PUBLIC KEY-----\nMFkw"EwYH\n-----END PUBLIC KEY-----'  # noqa: S105 - of nobody
    WebhookSecrets(path).add("sendgrid", secret)
    assert WebhookSecrets(path).of("sendgrid") == (secret,)


def test_a_file_that_changed_counts_at_once(path: Path) -> None:
    secrets = WebhookSecrets(path)
    written(path, f"[sendgrid]\nsecrets = ['{ONE}']\n")
    assert secrets.of("sendgrid") == (ONE,)
    path.unlink()
    assert secrets.of("sendgrid") == ()


@pytest.mark.parametrize(
    "text",
    [
        "no toml [",
        "[sendgrid]\n",
        "[sendgrid]\nsecrets = 'not-a-list-of-secrets'\n",
        "[sendgrid]\nsecrets = ['short']\n",
        f"[sendgrid]\nsecrets = ['{ONE}']\nmore = 1\n",
        f"sendgrid = ['{ONE}']\n",
    ],
)
def test_a_slip_turns_nobody_away_and_is_told(path: Path, text: str) -> None:
    secrets = WebhookSecrets(path)
    secrets.add("sendgrid", ONE)
    written(path, text)
    assert secrets.of("sendgrid") == (ONE,)
    assert secrets.failure is not None
    assert ONE not in secrets.failure
    with pytest.raises(WebhooksRefused):
        WebhookSecrets(path)
    written(path, f"[sendgrid]\nsecrets = ['{TWO}']\n")
    assert (secrets.of("sendgrid"), secrets.failure) == ((TWO,), None)


def test_a_file_that_others_can_read_is_refused(path: Path) -> None:
    written(path, f"[sendgrid]\nsecrets = ['{ONE}']\n")
    path.chmod(0o640)
    with pytest.raises(WebhooksRefused, match="chmod 600"):
        WebhookSecrets(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_cannot_be_written_is_told(path: Path) -> None:
    secrets = WebhookSecrets(path)
    path.parent.chmod(0o500)
    with pytest.raises(WebhooksRefused, match="cannot be written"):
        secrets.add("sendgrid", ONE)


@given(secret=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=16, max_size=40))
def test_any_printable_secret_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, secret: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.unlink(missing_ok=True)
    WebhookSecrets(path).add("standard", secret)
    assert WebhookSecrets(path).of("standard") == (secret,)
