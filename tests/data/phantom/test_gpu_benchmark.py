"""The benchmark for a GPU runs whole on the CPU when everything is tiny, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "phantom_gpu.py"


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--tiny", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_method_and_control_has_a_line_for_each_metric(options: list[str], tmp_path: Path) -> None:
    done = start(*options, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    first, _, *lines = done.stdout.splitlines()
    assert first.startswith("device: ") and len(first) > 9
    measured = {"anyad", "inpformer-moddrop", "anyad-intended", "inpformer", "anyad-released"}
    assert {line.split()[0] for line in lines} == measured | {"control:brain", "control:intensity"}
    figures = {tuple(line.split()[:2]): line.split()[2] for line in lines}
    assert all(0 <= float(figures[method, "pixel_ap"]) <= 1 for method in measured)


def test_what_the_time_did_not_suffice_for_is_named(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    done = start(*options, "--runs", str(tmp_path), "--minutes", "-1")
    assert done.returncode == 1
    assert "missing: anyad, seed 0 (time is up); inpformer-moddrop, seed 0 (time is up)" in done.stderr
