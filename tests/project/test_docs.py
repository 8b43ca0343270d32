"""Every command block of the documents runs: on generated trees, with the smallest budget and without weights.

Blocks of ``make`` are run by ``.ci/run`` itself. Training, and what uses a trained cell, is left to ``make test-all``,
except for one training of the README.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from documents import DOCUMENTS, ROOT, WORKED, blocks, make_place


def commands() -> list[tuple[str, str]]:
    plain = [document for document in DOCUMENTS if WORKED not in document.read_text()]
    lines = [(d.name, line) for d in plain for body in blocks(d, "sh") for line in body.splitlines() if line]
    return [(name, line) for name, line in lines if not line.startswith("make ")]


LIGHT = "anyadbench run --method anyad --protocol mslub-7subsets --data mslub"
"""The training of every test run."""


def cases() -> list[Any]:
    """Return every command with its document; what several documents hold is run once."""
    trains = {name for name, line in commands() if line.startswith("anyadbench run ")} - {"README.md"}
    seen: set[str] = set()
    found = []
    for name, line in sorted(commands(), key=lambda item: item[0] in trains):
        if line not in seen:
            heavy = name in trains or "--cell" in line or (line.startswith("anyadbench run ") and line != LIGHT)
            marks = [pytest.mark.slow] if heavy else []
            found.append(pytest.param(name, line, id=line[:70], marks=marks))
        seen.add(line)
    return found


def several(line: str) -> bool:
    """Whether a command trains several methods."""
    return line.count("--method ") > 1


def test_one_training_of_the_documents_is_in_every_test_run() -> None:
    assert ("README.md", LIGHT) in commands()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory)


_DONE: set[str] = set()


def run_line(line: str, place: Path) -> None:
    words = shlex.split(line)
    words = [{"demo": "tiny", "package": "random"}.get(word, word) for word in words]
    environment = {**os.environ, "ANYADBENCH_RUN_BUDGET": "tiny", "ANYADBENCH_RUN_WEIGHTS": "random"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    # The doctor exits with 1 if the machine itself has a problem, such as an almost full disk.
    assert done.returncode in ((0, 1) if words[1] == "doctor" else (0,)), done.stderr
    _DONE.add(line)


def run_before(name: str, place: Path, *, calibrated: bool = False) -> None:
    """Run the training in a document, and its calibration, so that each of its lines can be tested alone."""
    starts = ("anyadbench run ", "anyadbench calibrate ") if calibrated else "anyadbench run "
    for document, line in commands():
        if document == name and line.startswith(starts) and line not in _DONE and not several(line):
            run_line(line, place)


@pytest.mark.parametrize(("document", "line"), cases())
def test_a_command_of_the_documents_runs(document: str, line: str, place: Path) -> None:
    words = shlex.split(line)
    assert words[0] == "anyadbench", f"{document}: only make and anyadbench commands belong in sh blocks"
    if "--cell" in words:
        run_before(document, place, calibrated="--calibration" in words)
    run_line(line, place)


@pytest.mark.slow
def test_the_readme_shows_what_its_first_command_prints(tmp_path: Path) -> None:
    (shown,) = (body for body in blocks(ROOT / "README.md", "console") if "pixelstats" in body)
    command = next(line for line in shown.splitlines() if line.startswith("$ anyadbench run"))
    words = [sys.executable, "-m", "anyadbench", *shlex.split(command)[2:], "--runs", str(tmp_path)]
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", check=False, env={**os.environ, "COLUMNS": "100"}
    )
    assert done.returncode == 0, done.stderr
    printed = [line.split() for line in done.stdout.splitlines()]
    assert [line for line in shown.splitlines() if line[0] == " " and line.split() not in printed] == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=lambda d: d.name)
def test_python_blocks_run(document: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    if any("anyadbench.load(" in body for body in blocks(document, "python")):
        run_before(document.name, place)
    monkeypatch.chdir(place)
    maps = np.random.default_rng(0).random((4, 16, 16), dtype=np.float32)
    masks = np.zeros((4, 16, 16), dtype=bool)
    masks[:2, 4:8, 4:8] = True
    for body in blocks(document, "python"):
        exec(compile(body, document.name, "exec"), {"maps": maps, "masks": masks})


def test_every_builtin_protocol_has_its_page() -> None:
    from anyadbench.protocols import protocol_files

    index = (ROOT / "docs" / "protocols.md").read_text()
    for name in protocol_files():
        page = (ROOT / "docs" / "protocols" / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n") and "**Ours.**" in page and f"--protocol {name}" in page
        assert f"(protocols/{name}.md)" in index
    assert {path.stem for path in (ROOT / "docs" / "protocols").glob("*.md")} == set(protocol_files())


def test_links_between_documents_lead_somewhere() -> None:
    link = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
    links = [(document, target) for document in DOCUMENTS for target in link.findall(document.read_text())]
    assert len(links) > 20
    assert [(page.name, target) for page, target in links if not (page.parent / target).exists()] == []
