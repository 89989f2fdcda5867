"""What holds for the repository as a whole: its rooms, its packages, its SQL and what it may not name."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from projections import mirror, sql
from projections.registry import VIEWS

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "projections", "consumers", "api", "infra")
TOP = {*PACKAGES, "tests", "docs", ".ci", "pyproject.toml", "requirements.lock", "Makefile"}
TOP |= {"README.md", "LICENSE", ".gitignore"}


def tracked() -> list[Path]:
    """The files of the repository: those git knows, and new ones it does not ignore."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files belong to it")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [p for p in paths if p.is_file()]


def test_no_other_distribution_brings_a_module_of_our_packages_names() -> None:
    providers = packages_distributions()
    for name in PACKAGES:
        assert set(providers.get(name, [])) <= {"rapport"}, name


def test_the_top_of_the_repository_has_the_agreed_entries_only() -> None:
    assert {p.relative_to(ROOT).parts[0] for p in tracked()} <= TOP


def test_every_locked_package_has_its_version_and_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted|-e|-r)\b", text, re.MULTILINE)
    statements = text.replace("\\\n", " ").splitlines()
    requirements = [s for s in statements if s.strip() and not s.lstrip().startswith("#")]
    assert len(requirements) > 30
    for requirement in requirements:
        assert re.match(r"^[A-Za-z0-9._-]+==\S+ ", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", requirement), requirement


def test_everything_the_project_needs_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert {re.split(r"[^A-Za-z0-9._-]", w)[0].lower() for w in wanted} <= {name.lower() for name in locked}


def test_no_file_names_a_package_registry_or_a_private_address() -> None:
    """A checkout installs from whatever registry its user has set up."""
    hosts = ["files" + r"\.python" + r"hosted\.org", "py" + r"pi\.org", "artifact" + "ory", "nexus" + r"\."]
    ways = [r"/simp" + r"le\b", "index" + "-url", r"https?://[\w.-]+\.(?:internal|corp|lan|local)\b"]
    patterns = "|".join([*hosts, *ways])
    for path in tracked():
        found = re.search(patterns, path.read_bytes().decode("utf-8", "replace"), re.IGNORECASE)
        assert found is None, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"


def test_every_sql_file_is_loaded_by_something() -> None:
    """By its name in the code of its package, as the SELECT of a registered view, or as the upgrade to a version."""
    views = {v.name for v in VIEWS}
    code = "\n".join(p.read_text() for p in tracked() if p.suffix == ".py")
    files = [p for p in tracked() if p.suffix == ".sql" and "benchmarks" not in p.parts]
    assert len(files) > 20
    for path in files:
        of_a_view = path.parent.name in views and path.name == "view.sql"
        shown = path.parent.parent.name in views and path.name == "example.sql"
        upgrade = path.parent.name == "upgrades" and 2 <= int(path.stem) <= mirror.VERSION
        named = re.search(rf"""["'/]{path.stem}(\.sql)?["']""", code)
        assert of_a_view or shown or upgrade or named, path.relative_to(ROOT)


def test_there_is_an_upgrade_to_each_version_of_the_mirror() -> None:
    there = [p for p in tracked() if p.parent.name == "upgrades"]
    assert {int(p.stem) for p in there} == set(range(2, mirror.VERSION + 1))


def test_sql_is_loaded_from_the_package_and_not_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for view in VIEWS:
        assert "select" in sql.load(f"projections.{view.name}", "view.sql").lower()


def test_nothing_is_called_manager_helper_or_utils() -> None:
    for path in tracked():
        assert not re.search(r"manager|helper|utils?\b", path.stem, re.IGNORECASE), path


def test_no_file_is_large_and_none_is_generated() -> None:
    for path in tracked():
        assert path.stat().st_size < 200_000, path
        assert path.suffix not in {".pyc", ".duckdb", ".parquet", ".log"}, path


def test_every_module_says_what_it_is_for() -> None:
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            assert path.read_text().startswith('"""'), path.relative_to(ROOT)
