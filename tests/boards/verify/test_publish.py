"""A published cell is short, says what the run said, and gives the run's board."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from anyadbench.boards import build_boards
from anyadbench.boards.aggregate.recompute import read_statistics
from anyadbench.boards.verify import publish as publishing
from anyadbench.boards.verify.cell import GROUPED, check_cell
from anyadbench.boards.verify.condense import condense
from anyadbench.boards.verify.publish import publish_cells
from anyadbench.errors import UserError
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.results.read import read_cells

VALUES = ("value", "n_slices", "n_subjects", *(f"image_{name}" for name in ("auroc", "ap", "f1")), "pixel_ap", "aupro")


def test_a_published_cell_has_the_numbers_of_the_run(runs: Path, published: Path) -> None:
    cell = published
    (before,) = read_cells(runs)
    (after,) = read_cells(cell.parents[1])
    assert before.result is not None and after.result is not None
    assert after.result.rows == before.result.rows and after.result.cell_id == before.result.cell_id
    assert read_statistics(cell).slices == read_statistics(before.folder).slices
    assert all(isinstance(row.steps, GroupedSteps) for row in read_statistics(cell).pixels.values())
    names = {path.relative_to(cell).as_posix() for path in cell.rglob("*") if path.is_file()}
    assert names == {
        "cell.json", "manifest.json", "protocol.toml", "result.json", "scores/jackknife.npz", "scores/pixels.npz",
        "scores/slices.npz",
    }  # fmt: skip
    assert (cell / "manifest.json").stat().st_size < (before.folder / "manifest.json").stat().st_size
    assert (cell / "scores/slices.npz").stat().st_size < (before.folder / "scores/slices.csv").stat().st_size / 3
    assert check_cell(cell).problems == []


def test_both_forms_give_the_same_board(runs: Path, published: Path, tmp_path: Path) -> None:
    tables = []
    for place in (runs, published.parents[1]):
        (board,) = build_boards(place, tmp_path / "boards" / place.name)
        with board.leaderboard.open(newline="") as stream:
            tables.append(list(csv.DictReader(stream)))
    assert len(tables[0]) == len(tables[1]) > 0
    for one, other in zip(*tables, strict=True):
        assert {name: one.get(name) for name in VALUES} == {name: other.get(name) for name in VALUES}


def test_intervals_of_a_published_row_are_close_to_those_of_the_run(runs: Path, published: Path) -> None:
    (record,) = read_cells(runs)
    exact, short = read_statistics(record.folder), read_statistics(published)
    for place in exact.pixels:
        ours, theirs = exact.row(place)[0], short.row(place)[0]
        assert ours["metrics"] == theirs["metrics"] and ours["threshold"] == theirs["threshold"]
        assert ours["intervals"].keys() == theirs["intervals"].keys()
        for name, ends in ours["intervals"].items():
            assert theirs["intervals"][name] == pytest.approx(ends, abs=GROUPED if "pixel" in name else 1e-3)


def test_publishing_in_place_and_again_changes_nothing(published: Path) -> None:
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    publish_cells(published.parents[1], published.parents[1])
    assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == before


def test_short_pixel_statistics_stay_exact(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "EXACT_BYTES", 1 << 30)
    (record,) = read_cells(runs)
    (cell,) = publish_cells(runs, tmp_path / "results")
    assert (cell / "scores/pixels.npz").read_bytes() == (record.folder / "scores/pixels.npz").read_bytes()
    assert check_cell(cell).problems == []


def test_a_short_form_that_fails_the_check_is_not_published(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "EXACT_BYTES", 0)
    monkeypatch.setattr(publishing, "condense", lambda rows, scale, common: condense(rows, scale, common)[:-1])
    with pytest.raises(UserError, match="cannot be published: its short form fails the check"):
        publish_cells(runs, tmp_path / "results")
    assert not list((tmp_path / "results").rglob("result.json"))
