"""Costs and numerics of a method that ran on a GPU and on a processor, and of runs that a newer cell replaced."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell, write_head
from cell_fixture import change_json

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render import plots
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.markdown import board_markdown
from anyadbench.boards.render.page_tables import methods
from anyadbench.boards.render.parts.costs import cost_rows, devices, variant_costs
from anyadbench.results.read import read_cells

ON_GPU = {"numerics.device": "cuda", "timings.fit_seconds": 10.0, "memory.device_mb": 900.0, "train.parameters": 50}


def board_of(runs: Path) -> Board:
    (board,) = make_boards(read_cells(runs))
    return board


def variant_of(board: Board, name: str) -> Variant:
    return next(variant for variant in board.variants if variant.method.name == name)


@pytest.fixture
def mixed(tmp_path: Path) -> Board:
    """``both`` ran its seed 0 on a GPU and its seeds 1 and 2 on a processor; ``gpu`` and ``cpu`` each on one."""
    cells = tmp_path / "cells"
    on_gpu, on_cpu = dict(ON_GPU), {"train.parameters": 50}
    for name, seed, changes in (
        ("both", 0, on_gpu), ("both", 1, on_cpu), ("both", 2, on_cpu), ("gpu", 0, on_gpu), ("cpu", 0, on_cpu),
    ):  # fmt: skip
        write_cell(cells, FakeMethod(name, name.title(), maps=False, changes=changes), seed)
    return board_of(tmp_path)


def test_seconds_of_a_gpu_and_of_a_processor_are_not_averaged(mixed: Board) -> None:
    both = variant_of(mixed, "both")
    assert devices(both) == ("cuda", "cpu") and both.seeds == (0, 1, 2)
    assert variant_costs(both) == {"parameters": 50, "train_slices": 128}
    rows = [row for row in cost_rows(mixed) if row.variant is both]
    assert [(row.place, row.costs["fit_seconds"]) for row in rows] == [
        ("cuda, seed 0", 10.0),
        ("cpu, seeds 1, 2", 118.0),
    ]
    assert rows[0].costs["device_mb"] == 900.0 and "device_mb" not in rows[1].costs


@pytest.mark.parametrize("made", [leaderboard_csv, summary_csv])
def test_csv_files_name_the_devices(mixed: Board, made: object) -> None:
    assert callable(made)
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(made(mixed)))}
    assert {name: row["device"] for name, row in rows.items()} == {"both": "cuda cpu", "gpu": "cuda", "cpu": "cpu"}
    assert {name: row["fit_seconds"] for name, row in rows.items()} == {"both": "", "gpu": "10.000", "cpu": "118.000"}
    assert {row["parameters"] for row in rows.values()} == {"50"}


def test_the_markdown_has_a_row_of_costs_for_each_device(mixed: Board) -> None:
    text = board_markdown(mixed)
    for name, place, seconds in (
        ("Both", "cuda, seed 0", 10), ("Both", "cpu, seeds 1, 2", 118), ("Gpu", "cuda", 10), ("Cpu", "cpu", 118),
    ):  # fmt: skip
        assert re.search(rf"^\| {name} [^|]*\| {place} \| {seconds} \|", text, re.M)


def test_no_plot_mixes_devices(mixed: Board) -> None:
    made = plots.costs(mixed)
    assert sorted(place for _, _, place, _ in made["rows"]) == ["cpu", "cpu, seeds 1, 2", "cuda", "cuda, seed 0"]
    numbers = {(row[0].method.name, row[2]): number for number, row in enumerate(made["rows"], 1)}
    timed = [plot for plot in map(str, made["plots"]) if "training (s)" in plot]
    assert len(timed) == 2
    for plot, device, other in zip(timed, ("cuda", "cpu"), ("cpu", "cuda"), strict=True):
        assert f"training (s) on {device}" in plot
        for (name, place), number in numbers.items():
            assert (f"<title>{number} {name.title()}: " in plot) == place.startswith(device)
        assert f" on {other}" not in plot
    (counted,) = [plot for plot in map(str, made["plots"]) if "parameters" in plot]
    assert counted.count("<title>") == 3 + 1  # and the front's


def test_the_page_lists_the_numerics_of_every_seed(mixed: Board) -> None:
    said = {part["variant"].method.name: part["entries"]["Numerics"] for part in methods(mixed)}
    rest = "float32, TF32 off, not forced deterministic, 2 threads"
    assert said["both"] == f"seed 0: cuda, {rest}; seeds 1, 2: cpu, {rest}"
    assert said["cpu"] == f"cpu, {rest}"


def test_cells_that_a_newer_one_replaces_cost_nothing(tmp_path: Path) -> None:
    method = FakeMethod("one", "One", maps=False)
    older = write_cell(tmp_path / "cells", method, 0)
    change_json(older / "result.json", lambda data: data["timings"].update(fit_seconds=9999.0))
    change_json(older / "result.json", lambda data: data["numerics"].update(device="cuda"))
    older = older.rename(older.with_name("older"))
    write_head(older, "done", "one", 0, cell_id=None, finished="2025-01-01T00:00:00+00:00")
    write_cell(tmp_path / "cells", method, 0)
    (variant,) = board_of(tmp_path).variants
    assert len(variant.cells) == 2
    assert variant_costs(variant)["fit_seconds"] == 118.0 and devices(variant) == ("cpu",)


def test_one_training_per_subset_is_averaged_over_all_of_them(tmp_path: Path) -> None:
    for number, subset in enumerate(SUBSETS):
        cell = write_cell(tmp_path / "cells", FakeMethod("one", "One", maps=False), 0)
        change_json(cell / "result.json", lambda data, n=number: data["timings"].update(fit_seconds=float(n)))
        change_json(
            cell / "result.json",
            lambda data, label=subset: data.update(rows=[row for row in data["rows"] if row["subset"] == label]),
        )
        cell.rename(cell.with_name(f"cell-{number}"))
    (variant,) = board_of(tmp_path).variants
    assert variant_costs(variant)["fit_seconds"] == 3.0
