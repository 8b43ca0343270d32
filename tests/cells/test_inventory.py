"""``anyadbench runs`` on hand-made folders: nothing is trained here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from anyadbench.cells import inventory
from anyadbench.cells.work_folder import WorkFolder, now
from anyadbench.cli import main
from anyadbench.errors import UserError

ID = "0123456789abcdef"


def cell(runs: Path, state: str, *, seed: int = 0, ident: str = ID, **more: Any) -> WorkFolder:
    name = f"mine_tiny_s{seed}_{ident}"
    folder = WorkFolder(runs / "cells" / name, "cell.json")
    head = {"method": "mine", "protocol": "tiny", "seed": seed, "cell_id": ident, "fit_id": "f" * 64, **more}
    folder.update(state=state, **head)
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_cells_are_listed_with_state_age_and_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = cell(tmp_path, "failed", error="no luck", finished=now())
    (failed.work / "log.txt").write_bytes(b"x" * 100_000)
    code, out, _ = call(capsys, "runs", "--runs", tmp_path)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("mine_tiny_s0"))
    assert "failed" in line
    assert "no luck" in line
    (entry,) = json.loads(call(capsys, "runs", "--runs", tmp_path, "--json")[1])
    assert entry["bytes"] >= 100_000
    assert 0 <= entry["age_seconds"] < 100


def test_a_running_cell_whose_process_is_gone_is_interrupted(tmp_path: Path) -> None:
    cell(tmp_path, "running")
    assert [entry.state for entry in inventory.list_cells(tmp_path)] == ["interrupted"]


def test_a_running_cell_is_running_while_its_process_holds_the_lock(tmp_path: Path) -> None:
    folder = cell(tmp_path, "running")
    with folder.lock():
        assert [entry.state for entry in inventory.list_cells(tmp_path)] == ["running"]


def running(runs: Path, **record: Any) -> WorkFolder:
    """Write a running cell, and what its process last wrote about its progress."""
    folder, began = cell(runs, "running"), time.time() - 100
    plain = {"phase": "training", "first": 41, "began": began, "done": 91, "total": 191, "time": began + 100}
    (folder.work / "progress.json").write_text(json.dumps(plain | record))
    return folder


def test_a_running_cell_shows_its_phase_step_and_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = running(tmp_path)
    with folder.lock():
        lines = call(capsys, "runs", "--runs", tmp_path)[1]
        shown = call(capsys, "runs", "show", ID, "--runs", tmp_path)[1]
        (entry,) = json.loads(call(capsys, "runs", "--runs", tmp_path, "--json")[1])
    assert "training 91/191 (48 %), about 3 min left" in " ".join(lines.split())
    assert "progress:   training 91/191 (48 %), about 3 min left" in shown
    left = entry["progress"].pop("seconds_left")
    assert 190 <= left <= 200  # 50 steps took 100 s, and 100 are left
    assert entry["progress"] == {"phase": "training", "done": 91, "total": 191, "percent": 47.6}
    (entry,) = json.loads(call(capsys, "runs", "--runs", tmp_path, "--json")[1])
    assert (entry["state"], entry["progress"]) == ("interrupted", None)


@pytest.mark.parametrize("record", [{"total": 0}, {"first": 91}])
def test_without_a_total_or_a_second_report_there_is_no_estimate(tmp_path: Path, record: dict[str, Any]) -> None:
    with running(tmp_path, **record).lock():
        (entry,) = inventory.list_cells(tmp_path)
    assert entry.progress is not None and entry.progress.seconds_left is None
    assert entry.progress.text == ("training" if record == {"total": 0} else "training 91/191 (48 %)")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"first": "x"}', "NaN"])
def test_damaged_progress_is_left_out(tmp_path: Path, text: str) -> None:
    folder = running(tmp_path)
    (folder.work / "progress.json").write_text(text)
    with folder.lock():
        assert [entry.progress for entry in inventory.list_cells(tmp_path)] == [None]


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    folder = cell(tmp_path, "running")
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom anyadbench.cells.work_folder import WorkFolder\n"
        "folder = WorkFolder(Path(sys.argv[1]), 'cell.json')\n"
        "with folder.lock():\n    if os.fork() == 0:\n        os.closerange(0, 3)\n        time.sleep(5)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder.final)], check=True, capture_output=True, timeout=4.5)
    assert not folder.held


def test_show_finds_a_cell_by_the_beginning_of_its_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, "failed", error="no luck", log_tail=["last words\x1b[31m"])
    code, out, _ = call(capsys, "runs", "show", ID[:6], "--runs", tmp_path)
    assert code == 0
    assert "last words" in out
    assert "\x1b" not in out
    assert json.loads(call(capsys, "runs", "show", ID, "--runs", tmp_path, "--json")[1])["error"] == "no luck"


def test_a_name_that_fits_no_cell_or_two_is_refused(tmp_path: Path) -> None:
    cell(tmp_path, "failed")
    cell(tmp_path, "failed", seed=1, ident="0999")
    with pytest.raises(UserError, match="holds no cell 'zzz'"):
        inventory.find_cell(tmp_path, "zzz")
    with pytest.raises(UserError, match="matches 2 cells of .*give more of the name"):
        inventory.find_cell(tmp_path, "mine")


def test_prune_lists_what_it_would_remove_and_removes_it_only_with_yes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, kept = cell(tmp_path, "failed"), cell(tmp_path, "interrupted", seed=1, ident="aaaa")
    (failed.work / "log.txt").write_bytes(b"x" * 50_000)
    _, out, _ = call(capsys, "runs", "prune", "--runs", tmp_path)
    assert "would be freed; --yes removes them" in out
    assert failed.work.is_dir()
    _, out, _ = call(capsys, "runs", "prune", "--runs", tmp_path, "--yes")
    assert "1 folders" in out
    assert not failed.work.exists()
    assert not failed.lock_file.exists()
    assert kept.work.is_dir()
    call(capsys, "runs", "prune", "--unfinished", "--yes", "--runs", tmp_path)
    assert not kept.work.exists()


def test_prune_removes_trained_models_that_no_cell_uses(tmp_path: Path) -> None:
    cell(tmp_path, "interrupted", fit_id="a" * 64)
    used, unused = (WorkFolder(tmp_path / "fits" / f"mine-{letter * 16}", "fit.json") for letter in "ab")
    used.update(state="done")
    unused.update(state="done")
    assert [removal.path for removal in inventory.removable(tmp_path)] == [unused.work]


def test_a_cell_that_is_being_run_is_never_pruned(tmp_path: Path) -> None:
    folder = cell(tmp_path, "failed")
    with folder.lock():
        assert inventory.removable(tmp_path) == []
        with pytest.raises(UserError, match="is running; stop it first"):
            inventory.removable(tmp_path, [ID])


def test_a_file_with_two_names_is_freed_with_the_last_of_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one" / "weights").write_bytes(os.urandom(40_960))
    os.link(tmp_path / "one" / "weights", tmp_path / "two" / "weights")
    assert inventory.sizes([tmp_path / "one"])[1] == 0
    total, freed = inventory.sizes([tmp_path / "one", tmp_path / "two"])
    assert total == freed == 40_960


def test_pruning_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    runs = tmp_path / "runs"
    inside = cell(runs, "failed")
    (inside.work / "link").symlink_to(outside)
    (runs / "cells" / "evil_tiny_s0_ffff.partial").symlink_to(outside)
    (runs / "fits").mkdir()
    (runs / "fits" / "evil-ffff").symlink_to(outside)
    inventory.remove(inventory.removable(runs))
    assert not inside.work.exists()
    assert (outside / "precious").read_text() == "x"


def test_rerun_needs_to_know_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, "failed")
    code, _, err = call(capsys, "runs", "rerun", "--runs", tmp_path)
    assert code == 2
    assert "Say which cells to run again" in err


def test_rerun_without_a_plan_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell(tmp_path, "failed")
    code, _, err = call(capsys, "runs", "rerun", "--failed", "--runs", tmp_path)
    assert code == 2
    assert "plan.json cannot be read" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["../../etc", "..", "nothing", "mine_tiny_s0_0123456789abcdef/.."])
def test_work_takes_the_name_of_a_planned_cell_only(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell(tmp_path, "pending")
    code, _, err = call(capsys, "runs", "work", name, "--runs", tmp_path)
    assert code == 2
    assert "holds no planned cell" in err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2 H", 7200), ("0", 0)])
def test_durations_have_units(text: str, seconds: float) -> None:
    from anyadbench.cli.options import parse_duration

    assert parse_duration("--time-limit", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1d", "1e3", "nan"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    from anyadbench.cli.options import parse_duration

    with pytest.raises(UserError, match="--time-limit .* is not a duration; give seconds, or e.g. 90s"):
        parse_duration("--time-limit", text)


def test_a_launcher_setting_needs_a_name_and_a_value() -> None:
    from anyadbench.cli.options import parse_settings

    assert parse_settings(["partition = gpu", "x=a=b"]) == {"partition": "gpu", "x": "a=b"}
    with pytest.raises(UserError, match="not of the form NAME=VALUE"):
        parse_settings(["partition"])


def test_an_age_and_a_size_have_units() -> None:
    assert [inventory.human_age(age) for age in (None, 5, 300, 8000, 200_000)] == ["?", "5 s", "5 min", "2 h", "2 d"]
    sizes = [inventory.human_size(size) for size in (0, 1500, 25_000_000, 3.2e9)]
    assert sizes == ["0 B", "1.5 kB", "25 MB", "3.2 GB"]


def test_a_lock_on_a_removed_file_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    folder = cell(tmp_path, "pending")
    with folder.lock():
        folder.lock_file.unlink()
        with folder.lock(wait=False) as had:
            assert had
            assert folder.held
    assert not folder.held
