"""Cells of protocols that differ only in their training subjects: their facts, their check, and the curve on boards."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cell_fixture import change_json, reseal
from inprocess import Done, run

from anyadbench.boards import build_boards
from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.build import board_files
from anyadbench.boards.verify.cell import check_cell
from anyadbench.cli import main
from anyadbench.hashing import stable_hash

COUNTS = (1, 2, 0)


@pytest.fixture(scope="module")
def cells(tiny_phantom: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Done]:
    """Cells of one method and one control, trained on one, two and all subjects; the method's are returned."""
    folder = tmp_path_factory.mktemp("shots")
    plain = tiny_protocol.read_text().replace(
        "[[test]]", "[split]\ntrain = 0.4\nvalidation = 0.1\ntest = 0.5\n[[test]]"
    )
    found = {}
    for count in COUNTS:
        text = plain.replace('"tiny"', f'"tiny-{count or "all"}"', 1)
        file = folder / f"{count}.toml"
        file.write_text(text.replace("[slices]", f"shots = {count}\n[slices]") if count else text)
        methods = ("pixelstats", "control:brain")
        found[count] = run(file, {"phantom": tiny_phantom}, folder / "runs", methods)[0]
    return found


@pytest.fixture
def runs(cells: dict[int, Done]) -> Path:
    return cells[1].folder.parent.parent


def test_a_result_states_its_subjects(cells: dict[int, Done]) -> None:
    slices = [int(cells[count].result.train["slices"]) for count in COUNTS]
    assert slices == sorted(slices) and len(set(slices)) == 3
    assert [cells[count].result.protocol.shots for count in COUNTS] == [1, 2, 0]
    assert len({done.result.fit_id for done in cells.values()}) == 3


def test_a_board_draws_the_curve_of_its_family(runs: Path, tmp_path: Path) -> None:
    boards = {board.protocol.name: board for board in load_boards(runs)}
    curve = next(curve for curve in boards["tiny-2"].shots if curve.kind == "measured" and curve.metric == "pixel_ap")
    assert [point.shots for point in curve.points] == [1, 2, 0]
    for point, name in zip(curve.points, ("tiny-1", "tiny-2", "tiny-all"), strict=True):
        item = boards[name].summary(curve.variant, curve.test, "pixel_ap")
        assert item is not None and (point.mean, (point.low, point.high)) == (item.mean, item.mean_interval)
        assert point.protocol == name
    assert len({point.mean for point in curve.points}) > 1
    assert boards["tiny-1"].shots == boards["tiny-all"].shots
    (alone,) = load_boards(runs, "tiny-1")
    assert alone.shots == boards["tiny-1"].shots
    files = board_files(boards["tiny-1"])
    rows = list(csv.DictReader(files["shots.csv"].splitlines()))
    own = [row for row in rows if row["kind"] == "measured" and row["metric"] == "pixel_ap"]
    assert [row["subjects"] for row in own] == ["1", "2", "all"]
    assert float(own[0]["mean"]) == pytest.approx(curve.points[0].mean, abs=1e-6)
    assert "by number of training subjects" in files["leaderboard.md"] and 'id="shots"' in files["report.html"]
    (built,) = build_boards(runs, tmp_path / "boards", "tiny-2")
    assert built.protocol == "tiny-2" and (built.folder / "shots.csv").is_file()
    relatives = {path.name: path / "leaderboard.md" for path in (tmp_path / "boards").iterdir() if path.is_dir()}
    assert set(relatives) == {"tiny-1", "tiny-2", "tiny-all"}
    assert all(page.read_text() == board_files(boards[name])["leaderboard.md"] for name, page in relatives.items())


def test_a_board_without_relatives_has_no_curve(runs: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "runs"
    for cell in (runs / "cells").glob("*tiny-all*"):
        shutil.copytree(cell, lonely / "cells" / cell.name)
    (board,) = load_boards(lonely)
    files = board_files(board)
    assert board.shots == () and "shots.csv" not in files and 'id="shots"' not in files["report.html"]


def test_the_plan_names_the_chosen_subjects(
    cells: dict[int, Done], tiny_phantom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = cells[2].folder / "protocol.toml"
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", str(file), "--data", str(tiny_phantom), "--method", "pixelstats", "--seed", "0"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "shots = 2" in said
    assert "seed 0 chooses 2 of " in said and ", ".join(_chosen(cells[2].folder)) in said


def test_a_finished_cell_passes_the_check_and_its_data(cells: dict[int, Done], tiny_phantom: Path) -> None:
    from anyadbench.launch.progress import Display
    from anyadbench.launch.recheck import Recheck

    with Display(quiet=True) as display:
        recheck = Recheck((f"phantom={tiny_phantom}",), display)
        for done in cells.values():
            report = check_cell(done.folder)
            recheck.derive(report)
            assert report.problems == []


def another_subject(selection: dict[str, Any]) -> None:
    kept = selection["shots"]
    kept["subjects"] = [next(name for name in kept["complete"] if name not in kept["subjects"])]


def another_seed(selection: dict[str, Any]) -> None:
    selection["shots"]["seed"] = 7


def one_more(selection: dict[str, Any]) -> None:
    chosen = selection["shots"]
    other = next(name for name in chosen["complete"] if name not in chosen["subjects"])
    selection["slices"]["train_normals"][other] = [3]


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (another_subject, "but seed 0 chooses"),
        (another_seed, "with seed 7, but the seed of the run is 0"),
        (one_more, "which seed 0 does not choose"),
    ],
)
def test_another_choice_is_found(
    forge: Callable[[dict[str, Any]], None], said: str, cells: dict[int, Done], tmp_path: Path
) -> None:
    cell = Path(shutil.copytree(cells[1].folder, tmp_path / cells[1].folder.name))

    def change(manifest: dict[str, Any]) -> None:
        selection = manifest["data"]["phantom"]["selection"]
        forge(selection)
        selection["hash"] = stable_hash({key: value for key, value in selection.items() if key != "hash"})

    change_json(cell / "manifest.json", change)
    reseal(cell)
    assert any(said in problem for problem in check_cell(cell).problems)


def _chosen(cell: Path) -> list[str]:
    from anyadbench.files import read_json

    return list(read_json(cell / "manifest.json")["data"]["phantom"]["selection"]["shots"]["subjects"])
