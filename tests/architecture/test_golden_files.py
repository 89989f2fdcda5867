"""A golden file is final: never edited, renamed or removed, today or in any commit."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden import digests, write

ROOT = Path(__file__).parents[2]
GOLDEN = "tests/golden"


def test_every_golden_file_is_what_it_was_when_it_was_added() -> None:
    assert digests.faults(ROOT / GOLDEN) == []


def test_no_commit_ever_changed_a_golden_file_or_its_digest() -> None:
    if not digests.whole_history(ROOT):
        pytest.skip("no git history, or a shallow clone: only the digests speak for the golden files")
    assert digests.rewritten(ROOT, GOLDEN) == []


# ── that these two notice ──────────────────────────────────────────────────────────────────────────


def edit(folder: Path) -> None:
    path = folder / "events" / "pool.created.v1.json"
    path.write_bytes(path.read_bytes().replace(b"Berlin", b"Hamburg", 1))


def rename(folder: Path) -> None:
    (folder / "events" / "pool.created.v1.json").rename(folder / "events" / "pool.made.v1.json")


def remove(folder: Path) -> None:
    (folder / "events" / "pool.created.v1.json").unlink()


def edit_the_digest(folder: Path) -> None:
    edit(folder)
    sums = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in sums if "pool.created" not in line))
    digests.record(folder, "events/pool.created.v1.json")


def overrule(folder: Path) -> None:
    """A second digest behind the first, as the list only grows."""
    edit(folder)
    digests.record(folder, "events/pool.created.v1.json")


def add(folder: Path) -> None:
    """What an author of a new version does."""
    shutil.copy(folder / "events" / "pool.created.v1.json", folder / "events" / "pool.created.v2.json")
    digests.record(folder, "events/pool.created.v2.json")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one commit that holds the golden files."""
    folder = tmp_path / GOLDEN
    shutil.copytree(ROOT / GOLDEN / "events", folder / "events")
    shutil.copy(ROOT / GOLDEN / "SHA256SUMS", folder)
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path)
    return tmp_path


def git(repository: Path, *arguments: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repository), *who, *arguments], check=True, capture_output=True)


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=x")


@pytest.mark.parametrize("change", [edit, rename, remove, overrule])
def test_a_changed_golden_file_is_noticed_before_it_is_committed(
    repository: Path, change: Callable[[Path], None]
) -> None:
    change(repository / GOLDEN)
    assert any("pool.created.v1.json" in fault for fault in digests.faults(repository / GOLDEN))


def test_a_golden_file_without_a_digest_is_noticed(repository: Path) -> None:
    shutil.copy(repository / GOLDEN / "events" / "pool.created.v1.json", repository / GOLDEN / "events" / "new.v1.json")
    assert [f.partition(" has no digest")[0] for f in digests.faults(repository / GOLDEN)] == ["events/new.v1.json"]


@pytest.mark.parametrize("change", [edit, rename, remove, edit_the_digest])
@pytest.mark.parametrize("merged", [False, True])
def test_a_golden_file_changed_in_any_commit_is_noticed(
    repository: Path, change: Callable[[Path], None], merged: bool
) -> None:
    """Also when the digest was made to fit, a later commit took the change back, or it came in with a merge."""
    original = repository / "original"
    shutil.copytree(repository / GOLDEN, original)
    if merged:
        git(repository, "checkout", "--quiet", "-b", "side")
    change(repository / GOLDEN)
    commit(repository)
    if merged:
        git(repository, "checkout", "--quiet", "main")
        commit(repository)
        git(repository, "merge", "--quiet", "--no-edit", "side")
    shutil.rmtree(repository / GOLDEN)
    shutil.copytree(original, repository / GOLDEN)
    commit(repository)
    assert digests.faults(repository / GOLDEN) == []
    assert digests.whole_history(repository)
    assert any("pool.created.v1.json" in fault for fault in digests.rewritten(repository, GOLDEN))


@pytest.mark.parametrize("merged", [False, True])
def test_adding_golden_files_is_fine(repository: Path, merged: bool) -> None:
    if merged:
        git(repository, "checkout", "--quiet", "-b", "side")
    add(repository / GOLDEN)
    commit(repository)
    if merged:
        git(repository, "checkout", "--quiet", "main")
        commit(repository)
        git(repository, "merge", "--quiet", "--no-edit", "side")
    assert digests.faults(repository / GOLDEN) == []
    assert digests.rewritten(repository, GOLDEN) == []


def test_writing_adds_what_is_missing_with_its_digest_and_touches_nothing_else(repository: Path) -> None:
    folder = repository / GOLDEN
    remove(folder)
    another = folder / "events" / "pool.archived.v1.json"
    another.write_text("{}")
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if "pool.created" not in line))
    write.main(folder)
    assert (folder / "events" / "pool.created.v1.json").read_bytes() == (
        ROOT / GOLDEN / "events" / "pool.created.v1.json"
    ).read_bytes()
    assert sorted((folder / "SHA256SUMS").read_text().splitlines(keepends=True)) == sorted(lines)
    assert another.read_text() == "{}"
    assert len(digests.faults(folder)) == 1


def test_a_shallow_clone_and_an_archive_claim_no_history(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    commit(repository)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    git(elsewhere, "clone", "--quiet", "--depth=1", repository.as_uri(), str(elsewhere / "clone"))
    assert not digests.whole_history(elsewhere / "clone")
    assert not digests.whole_history(elsewhere)
    assert digests.whole_history(repository)
