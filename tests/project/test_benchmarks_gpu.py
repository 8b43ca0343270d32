"""The script that measures a GPU machine runs in all its parts, on a CPU too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_every_part_of_the_gpu_script_runs(tmp_path: Path) -> None:
    pytest.importorskip("anyadbench_anyad")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ANYADBENCH_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    for said in (
        "bfloat16 matrix product:",
        "step, batch 2, graph off:",
        "step, batch 2: plain float32",
        "loss at row -1: float32",
        "preparing scans:",
        "batches of 2, scaled on the device True:",
        "scoring slice-subsets, shared calls True:",
        "equal bits True",
    ):
        assert said in done.stdout, said
