"""A real SLURM that takes arrays of two tasks and three jobs of a user: every cell is run, in its turn."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster
from grid_fixture import cells, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ON_SLURM = [
    "--launcher", "slurm", "--device", "cpu", "--launcher-option", "poll=1", "--launcher-option", "partition=main",
]  # fmt: skip


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    reason = slurm_cluster.missing(accounting=True)
    if reason:
        pytest.skip(reason)
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm"), "MaxArraySize=2\n", submitted=3) as environment:
        yield environment


@pytest.fixture
def grid(queue: dict[str, str], toys: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    for name, value in queue.items():
        monkeypatch.setenv(name, value)
    return ["--method", "toy", *(f"--seed={seed}" for seed in range(5)), *options, *ON_SLURM]


def test_a_grid_beyond_every_limit_is_run(grid: list[object], tmp_path: Path) -> None:
    done = run("run", *grid, "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert len(cells(tmp_path / "runs")) == 5
    assert "submitted 2 cells to SLURM as job" in done.stderr
    assert "submitted 3 cells" not in done.stderr
    assert "2 cells wait until SLURM takes more jobs of yours" in done.stderr
    assert not list((tmp_path / "runs").glob(".slurm-*"))


def test_a_job_that_slurm_refuses_is_a_sentence_with_a_fix(grid: list[object], tmp_path: Path) -> None:
    done = run("run", *grid, "--launcher-option", "partition=none", "--runs", tmp_path / "runs")
    assert done.returncode == 2
    assert "SLURM refused the job: invalid partition specified: none; choose a partition that 'sinfo -s'" in done.stderr
    listed = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    assert listed.stdout == ""


def test_a_task_imports_nothing_from_the_folder_of_the_command(grid: list[object], tmp_path: Path) -> None:
    (tmp_path / "submitit.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "torch.py").write_text("raise SystemExit('the wrong one')")
    from grid_fixture import COMMAND

    script = tmp_path / "elsewhere" / "start.py"
    script.parent.mkdir()
    script.write_text("from anyadbench.cli import main\nmain()\n")
    one = [str(word) for word in grid if not str(word).startswith("--seed=")]
    command = [COMMAND[0], str(script), "run", *one, "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(cells(tmp_path / "runs")) == 1
