"""The README tells the truth: its commands run, and print what it shows.

    RAPPORT_UPDATE_README=1 pytest tests/e2e/test_readme.py

writes what they print into the README instead.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
PORT = "8642"
VARYING = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b[0-9a-f]{8}\b"), "<short id>"),
    (re.compile(r"\b20\d\d-\d\d-\d\d \d\d:\d\d(?= \(UTC\))"), "<now>"),
    (re.compile(r"(?<=\d\d:\d\d   )20\d\d-\d\d-\d\d \d\d:\d\d"), "<recorded>"),
    (re.compile(r"^ \d+(?=   20)|(?<=\(event )\d+(?=\))|(?<=   )\d{4}$", re.MULTILINE), "<seq>"),
]


def test_the_commands_of_the_readme_print_what_it_shows(tmp_path: Path) -> None:
    text = README.read_text("utf-8")
    commands = [
        line.removeprefix("$ ") for block in BLOCK.findall(text) for line in block.splitlines() if line[:2] == "$ "
    ]
    assert len(commands) >= 5
    printed = iter(_run(commands, tmp_path))
    shown = BLOCK.sub(lambda block: f"```console\n{_filled(block[1], printed)}```", text)
    if os.environ.get("RAPPORT_UPDATE_README"):
        README.write_text(shown, "utf-8")
    assert _without_varying(README.read_text("utf-8")) == _without_varying(shown)


def test_make_demo_shows_the_three_views_and_a_trail(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "demo"], cwd=ROOT, env=_environment(tmp_path), capture_output=True, text=True, timeout=120, check=True
    )
    for shown in ("Pools as of", "Engagement as of", "gdpr_audit", "Consent trail of", "Time each step took"):
        assert shown in done.stdout


def _run(commands: list[str], folder: Path) -> list[str]:
    """What each command prints, all of them in one shell, as a person would type them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    mark = "\x1e"
    script = "set -m\n" + "".join(f"{c.replace(PORT, port)}\nprintf '{mark}'\n" for c in commands)
    shell = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    outputs = shell.stdout.replace(port, PORT).split(mark)
    assert len(outputs) == len(commands) + 1, shell.stdout
    return outputs[:-1]


def _filled(block: str, printed: Iterator[str]) -> str:
    commands = [line for line in block.splitlines() if line[:2] == "$ "]
    return "".join(f"{command}\n{_trimmed(next(printed))}" for command in commands)


def _trimmed(output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines()]
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("[1]"))


def _without_varying(text: str) -> str:
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text


def _environment(folder: Path) -> dict[str, str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith("RAPPORT_")}
    path = f"{Path(sys.executable).parent}:{keep['PATH']}"
    return keep | {"PATH": path, "RAPPORT_DATA": str(folder / "data"), "COLUMNS": "120", "TERM": "dumb"}
