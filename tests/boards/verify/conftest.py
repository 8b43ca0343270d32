"""A finished cell, run once for all tests of the check, and copies of it to change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path, tiny_protocol: Path) -> Path:
    """A runs folder with one complete cell of five test subjects, so that it has intervals."""
    folder = tmp_path_factory.mktemp("check")
    protocol = folder / "tiny.toml"
    split = "[split]\ntrain = 0.4\nvalidation = 0.1\ntest = 0.5\n\n[[test]]"
    protocol.write_text(tiny_protocol.read_text().replace("[[test]]", split))
    command = [sys.executable, "-m", "anyadbench", "run", "--method", "pixelstats", "--protocol", str(protocol)]
    done = subprocess.run(
        [*command, "--data", str(tiny_phantom), "--runs", str(folder / "runs")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "runs"


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "runs", ignore=shutil.ignore_patterns("fits", "*.lock")))


@pytest.fixture
def published(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published form of the cell, with grouped pixel statistics although they are short."""
    from anyadbench.boards.verify import publish

    monkeypatch.setattr(publish, "EXACT_BYTES", 0)
    (cell,) = publish.publish_cells(runs, tmp_path / "results")
    return cell
