"""Whole scans, alarms and sites on the page, in the tables, and on a terminal."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cell_fixture import change_json

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.build import board_files
from anyadbench.boards.render.terminal import plain_console, print_board
from anyadbench.boards.render.text import DASH
from anyadbench.boards.scans.tables import NO_BINS, alarm_sentences, bin_tables, group_tables, scan_tables
from anyadbench.metrics.scans.alarm_numbers import alarm_numbers
from anyadbench.metrics.scans.whole_scans import SubjectScore
from anyadbench.results.read import read_cells, read_json

RULE = "A lesion is found if a cluster of at least 0.003 ml overlaps it by 0.1 or more"


def board_of(cell: Path, runs: Path, *edits: Callable[[dict[str, Any]], object]) -> Board:
    """Return the board of copies of a cell, each changed by one function."""
    for number, edit in enumerate(edits or (lambda result: None,)):
        copy = Path(shutil.copytree(cell, runs / "cells" / f"{cell.name}{number}"))
        change_json(copy / "result.json", edit)
        told = read_json(copy, "result.json")
        facts = {"seed": told["seed"], "cell_id": told["cell_id"]}
        change_json(copy / "cell.json", lambda head, facts=facts: head.update(facts))
    (board,) = make_boards(read_cells(runs))
    return board


@pytest.fixture(scope="module")
def board(volume_cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Board:
    return board_of(volume_cell, tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def files(board: Board) -> dict[str, str]:
    return board_files(board)


def test_every_format_states_the_rule_and_the_numbers(board: Board, files: dict[str, str]) -> None:
    line = board.line(board.variants[0].key, "phantom", "F")
    assert line is not None and line.scans is not None
    dice = line.scans.metrics["dice"].value
    assert dice is not None
    assert RULE in files["report.html"] and RULE in files["leaderboard.md"].replace("\\", "")
    shown = f"{dice:.3f}".removeprefix("0")
    assert shown in files["leaderboard.md"] and f">{shown}<" in files["report.html"]
    rows = {row["subset"]: row for row in csv.DictReader(io.StringIO(files["leaderboard.csv"]))}
    assert float(rows["F"]["scans_dice"]) == pytest.approx(dice, abs=1e-6)
    assert int(rows["F"]["scans_lesions"]) == line.scans.n_lesions
    assert float(rows["F"]["scan_seconds"]) > 0 and "scoring a whole scan (s)" in files["report.html"]
    bias = line.scans.metrics["volume_bias_ml"].value
    assert bias is not None
    assert float(rows["F"]["scans_volume_bias_ml_low"]) < bias < float(rows["F"]["scans_volume_bias_ml_high"])
    best = line.scans.metrics["dice_best"]
    assert best.low is None and best.no_interval.endswith("it needs 8.") and best.no_interval in files["report.html"]


def test_the_page_has_curves_and_a_line_for_every_scan(board: Board, files: dict[str, str]) -> None:
    page = files["report.html"]
    section = page[page.index('<section id="scans"') : page.index('<section id="cost"')]
    assert '<a href="#scans">' in page and "false alarms per scan" in section and "<polyline" in section
    rows = list(csv.DictReader(io.StringIO(files["scans.csv"])))
    full = [row for row in rows if row["subset"] == board.full]
    assert full and all(row["scan"] in section for row in full)
    assert {row["subset"] for row in rows} == set(board.subsets)
    line = board.line(board.variants[0].key, "phantom", board.full)
    assert line is not None and line.scans is not None
    values = [float(row["dice"]) for row in full if row["dice"]]
    assert sum(values) / len(values) == pytest.approx(line.scans.metrics["dice"].value, abs=1e-5)


def test_a_terminal_shows_one_line_for_each_method(board: Board) -> None:
    console = plain_console()
    with console.capture() as capture:
        print_board(board, console=console)
    text = capture.get()
    assert f"Whole scans of phantom, {board.full}" in text and "alarms/scan" in text


def test_a_board_without_whole_scans_has_no_section(volume_cell: Path, tmp_path: Path) -> None:
    def forget(result: dict[str, Any]) -> None:
        for row in result["rows"]:
            row["scans"] = None

    found = board_files(board_of(volume_cell, tmp_path, forget))
    assert "scans.csv" not in found and 'id="scans"' not in found["report.html"]
    assert "scans_dice" not in found["leaderboard.csv"] and "Whole scans" not in found["leaderboard.md"]


def test_two_seeds_are_averaged_with_an_interval_from_both(volume_cell: Path, tmp_path: Path) -> None:
    def other(result: dict[str, Any]) -> None:
        result |= {"seed": 1, "cell_id": "1" * 64}
        result["rows"][0]["scans"]["metrics"]["dice_best"] += 0.1

    board = board_of(volume_cell, tmp_path, lambda result: None, other)
    line = board.line(board.variants[0].key, "phantom", "F")
    assert line is not None and line.scans is not None and line.seeds == (0, 1)
    bias = line.scans.metrics["volume_bias_ml"]
    assert bias.low is not None and bias.high is not None and bias.low < bias.high
    dice = line.scans.metrics["dice_best"]
    assert dice.value is not None and dice.seed_min is not None and dice.seed_max is not None
    assert dice.seed_max - dice.seed_min == pytest.approx(0.1)
    assert dice.value == pytest.approx((dice.seed_min + dice.seed_max) / 2)
    assert dice.low is None and dice.no_interval.endswith("it needs 8.")
    assert len(list(scan_tables(board))) == 1


def people(shift: float) -> list[SubjectScore]:
    validation = [SubjectScore("", "F", "val", f"v{i}", True, float(i)) for i in range(20)]
    tested = [
        SubjectScore("phantom", "F", "test", f"t{i}", True, i + shift, 30.0 + i, "FM"[i % 2], "AB"[i % 2])
        for i in range(12)
    ]
    return [*validation, *tested, SubjectScore("phantom", "F", "test", "patient", False, 90.0)]


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "kept"), (100.0, "broken")])
def test_alarms_stand_beside_their_promise_and_a_broken_one_is_flagged(
    volume_cell: Path, tmp_path: Path, shift: float, verdict: str
) -> None:
    def add(result: dict[str, Any]) -> None:
        result["rows"][0]["alarms"] = alarm_numbers(people(shift), "phantom", "F")

    board = board_of(volume_cell, tmp_path, add)
    files = board_files(board)
    line = board.line(board.variants[0].key, "phantom", "F")
    assert line is not None and ("promise broken" in line.flags) == (verdict == "broken")
    for name in ("report.html", "leaderboard.md"):
        assert verdict in files[name] and "at most 5 %" in files[name] and "no promise" in files[name]
    (row, *_) = csv.DictReader(io.StringIO(files["leaderboard.csv"]))
    assert row["alarms_5pc_rate"] == ("0.000000" if verdict == "kept" else "1.000000")
    assert row["alarms_5pc_broken"] == str(verdict == "broken").lower() and row["alarms_1pc_reason"].startswith(
        "At most"
    )
    (sentence,) = alarm_sentences(board)
    broken = int(verdict == "broken")
    assert sentence.endswith(f": a promise of at most 5 or 10 % alarms is broken on {broken} of 1 row.")
    assert "1 of 1" in files["report.html"]  # the patient alarms


def test_every_seed_counts_in_the_sentence_the_flag_and_the_groups(volume_cell: Path, tmp_path: Path) -> None:
    def kept(result: dict[str, Any]) -> None:
        result["rows"][0]["alarms"] = alarm_numbers(people(0.0), "phantom", "F")

    def broken(result: dict[str, Any]) -> None:
        result |= {"seed": 1, "cell_id": "1" * 64}
        result["rows"][0]["alarms"] = alarm_numbers(people(100.0), "phantom", "F")

    board = board_of(volume_cell, tmp_path, kept, broken)
    line = board.line(board.variants[0].key, "phantom", "F")
    assert line is not None and "promise broken" in line.flags
    (sentence,) = alarm_sentences(board)
    assert sentence.endswith("is broken on 1 of 1 row in at least one of 2 seeds.")
    (table,) = group_tables(board)
    by_sex = [(row[0].below, row[4].text) for row in table.rows if row[1].text == "sex" and row[2].text == "F"]
    assert by_sex == [("seed 0", "0 of 6"), ("seed 1", "6 of 6")]


def without_bins(result: dict[str, Any]) -> None:
    result |= {"seed": 0, "cell_id": "1" * 64}
    result["method"] |= {"title": "Bare", "code_hash": "bare"}
    for row in result["rows"]:
        row["scans"]["bins"] = []


def test_a_method_without_lesions_by_volume_has_dashes(volume_cell: Path, tmp_path: Path) -> None:
    board = board_of(volume_cell, tmp_path, without_bins, lambda result: None)
    (table,) = bin_tables(board)
    rows = {row[0].text: row[1:] for row in table.rows}
    bare, other = rows.pop("Bare"), next(iter(rows.values()))
    assert {cell.text for cell in bare} == {DASH} and all(cell.title == NO_BINS for cell in bare)
    assert "lesion" in other[0].below or "found" in other[0].below
    assert table.heads == ("Method", "below 0.1 ml", "0.1 to 1 ml", "1 to 10 ml", "from 10 ml")
    assert board_files(board)["report.html"]


def test_no_table_by_volume_where_no_method_has_any(volume_cell: Path, tmp_path: Path) -> None:
    board = board_of(volume_cell, tmp_path, without_bins)
    assert list(bin_tables(board)) == [] and board_files(board)["report.html"]


def test_seeds_with_different_lesions_have_dashes_by_volume(volume_cell: Path, tmp_path: Path) -> None:
    def other(result: dict[str, Any]) -> None:
        result |= {"seed": 1, "cell_id": "1" * 64}
        for row in result["rows"]:
            row["scans"]["bins"][0]["lesions"] += 1

    def named(result: dict[str, Any]) -> None:
        result["cell_id"] = "2" * 64
        result["method"] |= {"title": "Whole", "code_hash": "whole"}

    board = board_of(volume_cell, tmp_path, lambda result: None, other, named)
    (table,) = bin_tables(board)
    assert [{cell.text for cell in row[1:]} == {DASH} for row in table.rows] == [
        row[0].text != "Whole" for row in table.rows
    ]


def test_some_bins_are_neither_all_nor_none(volume_cell: Path, tmp_path: Path) -> None:
    def cut(result: dict[str, Any]) -> None:
        del result["rows"][0]["scans"]["bins"][2:]

    shutil.copytree(volume_cell, tmp_path / "cells/cut")
    change_json(tmp_path / "cells/cut/result.json", cut)
    (cell,) = read_cells(tmp_path)
    assert cell.problem is not None and "rows.0.scans.bins" in cell.problem
    assert "has 2 bins of volume; a row has all four, or none" in cell.problem


def test_sites_have_their_own_numbers(volume_cell: Path, tmp_path: Path) -> None:
    def add(result: dict[str, Any]) -> None:
        values = {"pixel_ap": 0.25, "aupro": None}
        result["rows"][0]["sites"] = [
            {"site": name, "n_subjects": 2, "n_slices": 9, "n_abnormal": 4, "metrics": values, "reason": "Few."}
            for name in ("=Oslo", "Utrecht")
        ]

    files = board_files(board_of(volume_cell, tmp_path, add))
    (row, *_) = csv.DictReader(io.StringIO(files["leaderboard.csv"]))
    assert row["site_'=Oslo_pixel_ap"] == "0.250000" and row["site_Utrecht_aupro"] == ""
    assert "By site" in files["report.html"] and "Utrecht" in files["leaderboard.md"]
