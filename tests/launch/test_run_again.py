"""Grids that need a second run: methods left out, failed cells, and finished ones that kept too few maps."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import inprocess
import pytest
from grid_fixture import cells, content, run, state

import anyadbench
from anyadbench.errors import UserError


@pytest.mark.slow
def test_a_failed_cell_is_run_again_once_the_cause_is_fixed(
    toys: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "--method", "toy", "--protocol", tiny_protocol, "--data", tiny_phantom, "--runs"]
    monkeypatch.setenv("TOY_FAIL", "the licence server is down")
    broken = run(*command, tmp_path / "runs")
    assert broken.returncode == 1
    assert "the licence server is down" in state(tmp_path / "runs", "toy")["error"]
    short, whole = (
        run("runs", "rerun", "--failed", *more, "--runs", tmp_path / "runs") for more in ((), ("--traceback",))
    )
    assert "--traceback shows where the error comes from." in short.stderr
    assert (
        "Traceback (most recent call last)" not in short.stderr and "Traceback (most recent call last)" in whole.stderr
    )
    monkeypatch.delenv("TOY_FAIL")
    again = run("runs", "rerun", "--failed", "--runs", tmp_path / "runs")
    assert again.returncode == 0, again.stderr
    assert state(tmp_path / "runs", "toy")["state"] == "done"
    assert run(*command, tmp_path / "fresh").returncode == 0
    assert content(tmp_path / "runs") == content(tmp_path / "fresh") != {}
    nothing = run("runs", "rerun", "--failed", "--runs", tmp_path / "runs")
    assert (nothing.returncode, nothing.stderr.strip()) == (0, f"{tmp_path / 'runs'} holds no such cell.")


def test_a_chosen_backbone_is_that_of_a_second_start_and_of_a_prediction(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path
) -> None:
    from anyadbench.cells.inventory import list_cells
    from anyadbench.launch.progress import Display
    from anyadbench.launch.replan import replan

    asked = (tiny_protocol, {"phantom": tiny_phantom}, tmp_path, ["stfpm"], ["stfpm.backbone=resnet18"])
    (job,) = inprocess.plan(*asked)
    (job.save() / "protocol.toml").write_text(tiny_protocol.read_text())
    (planned,) = list_cells(tmp_path)
    assert replan(planned, Display(quiet=True)).cell_id == job.cell_id
    (done,) = inprocess.run(*asked)
    assert done.result.weights.architecture.startswith("resnet18")
    flair = tiny_phantom / "HGG/Phantom_001_1/Phantom_001_1_flair.nii.gz"
    assert anyadbench.load(done.folder).predict({"flair": flair}).slices


def test_a_cell_that_becomes_one_that_is_being_run_is_left_alone(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path
) -> None:
    from anyadbench.cells.inventory import list_cells
    from anyadbench.cells.job import PLAN
    from anyadbench.launch.progress import Display
    from anyadbench.launch.replan import replan

    (job,) = inprocess.plan(tiny_protocol, {"phantom": tiny_phantom}, tmp_path, ["pixelstats"])
    folder = replace(job, cell_id="0" * 64).save()
    (folder / "protocol.toml").write_text(tiny_protocol.read_text())
    (planned,) = list_cells(tmp_path)
    with job.cell.lock(), pytest.raises(UserError, match="is running; wait for it, or stop it"):
        replan(planned, Display(quiet=True))
    assert (folder / PLAN).is_file() and not job.cell.work.exists()
    assert replan(planned, Display(quiet=True)).cell_id == job.cell_id
    assert not folder.exists() and (job.cell.work / PLAN).is_file()


def test_a_cell_that_cannot_be_planned_again_leaves_the_others_to_run(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from anyadbench.cli import main

    methods = ["pixelstats", "stfpm"]
    first, last = inprocess.plan(tiny_protocol, {"phantom": tiny_phantom}, tmp_path, methods)
    changed = replace(first, cell_id="0" * 64)  # becomes another cell, which is pending
    broken = replace(first, cell_id="f" * 64)
    for job in (changed, broken, last):
        (job.save() / "protocol.toml").write_text(tiny_protocol.read_text())
        job.cell.update(state="failed", error="no luck")
    (broken.cell.work / "plan.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(["runs", "rerun", "--failed", "--launcher", "shell", "--runs", str(tmp_path)])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert f"{broken.cell.final.name}: left out: " in printed.err and "is not the plan of a cell" in printed.err
    assert f"Left out for the reasons above: {broken.cell.final.name}." in printed.err
    run_again = [line for line in printed.out.splitlines() if "runs work" in line]
    assert len(run_again) == 2
    assert all(job.cell.final.name in printed.out for job in (first, last))


@pytest.mark.slow
def test_a_cell_without_its_maps_says_how_to_get_them(tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = ["run", "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tiny_phantom, "--runs", runs]
    assert run(*command, "--keep-maps", "none").returncode == 0
    (cell,) = cells(runs)
    assert not (cell / "scores/maps.npz").exists()
    said = run(*command, "--keep-maps", "all")
    assert said.returncode == 0
    found = re.search(r"with --keep-maps none, not all\. .*: anyadbench (.*), then this command", said.stderr)
    assert found, said.stderr
    assert run(*shlex.split(found[1])).returncode == 0
    fits = sorted((runs / "fits").iterdir())
    assert run(*command, "--keep-maps", "all").returncode == 0
    assert (cell / "scores/maps.npz").is_file()
    assert sorted((runs / "fits").iterdir()) == fits


def test_a_method_of_a_group_that_cannot_run_costs_only_its_own_row(
    tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path
) -> None:
    command = ["run", "--protocol", tiny_protocol, "--data", tiny_phantom, "--runs", tmp_path, "--weights", "random"]
    options = ["--missing", "black", "--budget", "tiny", "--launcher", "shell"]
    done = run(*command, *options, "--method", "all")
    assert done.returncode == 2
    assert "pixelstats: left out: --missing black: pixelstats does not follow it; it knows native" in done.stderr
    assert "Left out for the reasons above: dpmm, mmrad, pixelstats." in done.stderr
    assert "anyad_tiny_s0" in done.stdout
    assert "the commands compute in float32 on " in done.stderr
    assert "pixelstats" not in done.stdout
    alone = run(*command, *options, "--method", "pixel*")
    assert (alone.returncode, alone.stdout) == (2, "")
    assert "pixelstats does not follow it" in alone.stderr
