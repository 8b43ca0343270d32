"""Intervals of numbers and means, tests between methods, and rows from publications."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell
from places import ROOT

from anyadbench.boards import build_boards
from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board, Summary
from anyadbench.boards.aggregate.reported import NOT_STATED, read_reported
from anyadbench.boards.aggregate.uncertainty import Replicated
from anyadbench.boards.render.text import group_letter, rank_text
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.errors import UserError
from anyadbench.metrics.intervals.interval import interval
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.rows.replicates import RowReplicates, from_arrays, to_arrays
from anyadbench.results.arrays import load_arrays
from anyadbench.results.read import read_cells

REPORTED = ROOT / "leaderboards" / "reported"


def board_of(runs: Path, *methods: FakeMethod) -> Board:
    for method in methods:
        for seed in method.seeds:
            write_cell(runs / "cells", method, seed)
    (board,) = make_boards(read_cells(runs))
    return board


def method(name: str, skill: float, seeds: tuple[int, ...] = (0,)) -> FakeMethod:
    return FakeMethod(name, name.title(), skill, seeds, maps=False, budget="paper", replicates=True)


def item_of(board: Board, label: str, metric: str = "pixel_ap") -> Summary:
    key = next(variant.key for variant in board.variants if variant.label == label)
    item = board.summary(key, "phantom", metric)
    assert item is not None
    return item


def test_summaries_have_intervals_around_means_and_drops(tmp_path: Path) -> None:
    item = item_of(board_of(tmp_path, method("good", 2.5)), "Good")
    assert item.mean is not None and item.worst is not None
    low, high = item.mean_interval
    assert low is not None and high is not None and low < item.mean < high
    # A subject counts once in all subsets: their mean is as uncertain as the shared part, not seven times less.
    assert 0.01 < high - low < 0.2
    assert len(item.drops) == len(SUBSETS) - 1


def test_a_drop_compares_the_same_subjects(tmp_path: Path) -> None:
    """The fixture's full row has 5 of 8 subjects; its ``common`` values are those of the row itself."""
    board = board_of(tmp_path, method("good", 2.5))
    item = item_of(board, "Good", "image_auroc")
    lines = {subset: board.line(board.variants[0].key, "phantom", subset) for subset in SUBSETS}
    replicated = Replicated()
    for subset, drop in item.drops.items():
        whole, part = (replicated.of(line) for line in (lines["F+T1+T2"], lines[subset]) if line is not None)
        assert whole is not None and part is not None
        assert part.common.subjects == whole.own.subjects
        place = whole.own.metrics.index("image_auroc")
        assert drop == pytest.approx(float(whole.own.point[0, place] - part.common.point[0, place]))


def test_the_interval_of_several_seeds_holds_their_noise(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.5, (0, 1, 2)))
    line = board.line(board.variants[0].key, "phantom", SUBSETS[0])
    assert line is not None
    estimate = line.metrics["pixel_ap"]
    assert estimate.value is not None and estimate.low is not None and estimate.high is not None
    assert estimate.low < estimate.value < estimate.high
    replicates = Replicated().own(line)
    assert replicates is not None and replicates.seeds == 3
    found = interval(replicates, "pixel_ap")
    assert (estimate.low, estimate.high) == pytest.approx((found.low, found.high)) and not found.remark


def test_cells_without_values_by_subject_have_no_interval_and_say_why(tmp_path: Path) -> None:
    board = board_of(tmp_path, FakeMethod("old", "Old", 2.0, (0, 1), maps=False))
    line = board.line(board.variants[0].key, "phantom", SUBSETS[0])
    assert line is not None
    assert (line.metrics["pixel_ap"].low, line.metrics["pixel_ap"].high) == (None, None)
    assert line.metrics["pixel_ap"].no_interval == "No interval: the result stores no values without each subject."
    assert item_of(board, "Old").mean_interval == (None, None)
    assert item_of(board, "Old").group is None
    reason = board.pairs["measured", "phantom", "pixel_ap"].reason
    assert reason == "No test: old-phantom-7subsets-s0/scores/jackknife.npz has no values of F without each subject."


def test_damaged_values_are_a_notice(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", method("good", 2.5), 0)
    (cell / "scores/jackknife.npz").write_bytes(b"PK")
    (board,) = make_boards(read_cells(tmp_path))
    assert any("jackknife.npz is damaged" in notice for notice in board.notices)


def test_methods_that_no_test_separates_share_a_group(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("best", 2.6), method("same", 2.58), method("poor", 0.8))
    items = {name: item_of(board, name, "pixel_auroc") for name in ("Best", "Same", "Poor")}
    assert {name: item.group for name, item in items.items()} == {"Best": 1, "Same": 1, "Poor": 2}
    assert {name: item.ranks for name, item in items.items()} == {"Best": (1, 2), "Same": (1, 2), "Poor": (3, 3)}
    table = board.pairs["measured", "phantom", "pixel_auroc"]
    assert table.keys == tuple(items[name].variant for name in ("Best", "Same", "Poor"))
    assert table.beats == ((False, False, True), (False, False, True), (False, False, False))
    assert items["Best"].needed is None and items["Poor"].needed == 8
    assert items["Same"].needed is not None and items["Same"].needed > 50


def test_a_method_without_readable_values_leaves_the_tests_of_the_others(tmp_path: Path) -> None:
    methods = (method("best", 2.6), method("broken", 2.0), method("poor", 0.8))
    for one in methods:
        cell = write_cell(tmp_path / "cells", one, 0)
        if one.name == "broken":
            (cell / "scores/jackknife.npz").write_bytes(b"PK")
    (board,) = make_boards(read_cells(tmp_path))
    items = {label: item_of(board, label, "pixel_auroc") for label in ("Best", "Broken", "Poor")}
    assert {label: item.group for label, item in items.items()} == {"Best": 1, "Broken": None, "Poor": 2}
    # Nothing is known of the one that is left out, so it may be anywhere.
    assert {label: item.ranks for label, item in items.items()} == {"Best": (1, 2), "Broken": None, "Poor": (2, 3)}
    assert [items[label].rank for label in items] == [1, 2, 3]
    table = board.pairs["measured", "phantom", "pixel_auroc"]
    assert table.reason == "" and table.keys == (items["Best"].variant, items["Poor"].variant)
    (notice,) = (text for text in board.notices if text.startswith("Broken is in no test on phantom: "))
    assert "broken-phantom-7subsets-s0/scores/jackknife.npz is damaged" in notice
    assert "No interval: broken-phantom-7subsets-s0/scores" in items["Broken"].no_interval
    assert any("Tests separate 2 of 3 measured methods" in text for text in verdicts(board))


def test_a_method_on_other_subjects_leaves_the_tests_of_the_others(tmp_path: Path) -> None:
    def other(line: Replicates) -> Replicates:
        return replace(line, subjects=tuple(f"x{name}" for name in line.subjects))

    cell = [write_cell(tmp_path / "cells", method(*one), 0) for one in (("best", 2.6), ("poor", 0.8), ("else", 2.0))][2]
    found = from_arrays(load_arrays(cell / "scores/jackknife.npz", "x"))
    moved = {place: RowReplicates(other(row.own), other(row.common)) for place, row in found.items()}
    np.savez(cell / "scores/jackknife.npz", **to_arrays(moved))
    (board,) = make_boards(read_cells(tmp_path))
    table = board.pairs["measured", "phantom", "pixel_auroc"]
    assert len(table.keys) == 2 and item_of(board, "Poor", "pixel_auroc").group == 2
    assert table.left_out == {
        item_of(board, "Else").variant: "It was scored on 8 subjects, which are not the 8 of the other methods."
    }


def test_fewer_than_eight_subjects_have_no_test(tmp_path: Path) -> None:
    for one in (method("best", 2.6), method("poor", 0.8)):
        write_cell(tmp_path / "cells", one, 0, subjects=7)
    (board,) = make_boards(read_cells(tmp_path))
    assert board.pairs["measured", "phantom", "pixel_ap"].reason == "No p-value: 7 test subjects, and a test needs 8."
    assert item_of(board, "Best").group is None and item_of(board, "Best").mean_interval[0] is not None


def test_random_weights_are_shown_and_never_ranked(tmp_path: Path) -> None:
    chance = FakeMethod(
        "chance", "Chance", 3.0, maps=False, budget="paper", replicates=True,
        changes={"weights.kind": "random", "weights.marked": True},
    )  # fmt: skip
    board = board_of(tmp_path, chance, method("poor", 0.8))
    assert item_of(board, "Chance").rank is None and item_of(board, "Chance").mean is not None
    assert item_of(board, "Chance").reason == "Random weights: shown, never ranked."
    assert item_of(board, "Poor").rank == 1


def test_tie_groups_are_letters_after_ranks() -> None:
    assert [group_letter(group) for group in (None, 1, 26, 27)] == ["", "a", "z", "aa"]
    assert rank_text(2, 1) == "2 a"


def test_reported_tables_hold_the_published_numbers() -> None:
    records = read_reported(REPORTED)
    main = {r.method: r.result.rows[0].metrics for r in records if r.result and r.protocol == "brats-7subsets"}
    assert len(main) == 11
    assert main["anyad-intended"]["pixel_ap"] == 0.7881 and main["inpformer"]["aupro"] == 0.8501
    cross = next(r.result for r in records if r.protocol == "cross-brats-mu")
    assert cross is not None and len(cross.rows) == 7
    assert {row.subset: row.metrics["image_auroc"] for row in cross.rows}["T2"] == 0.8635
    zero = {r.protocol: r.result.rows[0].metrics["pixel_ap"] for r in records if r.result and "zeroshot" in r.protocol}
    assert zero == {
        "zeroshot-brats-t1ce": 0.5559, "zeroshot-mu-t1ce": 0.4731,
        "zeroshot-brats-pretreat": 0.3059, "zeroshot-mu-pretreat": 0.3523,
    }  # fmt: skip
    omnia = {r.protocol: r.result.rows[0].metrics for r in records if r.result and r.method == "unitransad"}
    assert {name.removeprefix("brain-omnia-"): found["pixel_f1"] for name, found in omnia.items()} == {
        "brats2021": 0.7021, "msd": 0.6965, "mslub": 0.5031, "isles2022": 0.4658, "wmh2017": 0.5435, "brisc": 0.5659,
    }  # fmt: skip
    pair = {r.protocol: r.result.rows[0].metrics["pixel_f1"] for r in records if r.result and r.method == "reflect"}
    assert pair == {"ixi-atlas": 0.37, "atlas-1subset": 0.27}
    assert all(r.result is not None and re.search("README|arXiv", r.result.source) for r in records)


def test_reported_rows_join_the_board_and_are_never_ranked(tmp_path: Path) -> None:
    folder = tmp_path / "reported"
    shutil.copytree(REPORTED, folder)
    table = folder / "brats-7subsets.toml"
    table.write_text(
        table.read_text().replace('"brats-7subsets"', '"phantom-7subsets"').replace('"brats2018"', '"phantom"')
    )
    write_cell(tmp_path / "runs/cells", method("poor", 0.8), 0)
    boards = {board.slug: board for board in load_boards(tmp_path / "runs", reported=folder)}
    assert {"phantom-7subsets", "cross-brats-mu", "zeroshot-mu-t1ce"} <= set(boards)
    board = boards["phantom-7subsets"]
    ranks = {
        (board.variant(i.variant).kind, board.variant(i.variant).label): i.rank
        for i in board.summaries
        if i.metric == "pixel_ap"
    }
    assert ranks["measured", "Poor"] == 1
    assert ranks["reported", "AnyAD"] is None
    reported = [variant.label for variant in board.variants if variant.kind == "reported"]
    assert reported[:2] == ["AnyAD", "INPFormer"]  # by value
    said = item_of(board, "AnyAD")
    assert (said.mean, said.worst, said.covered, said.required) == (None, None, 0, 0)
    assert NOT_STATED in board.subsets
    measured = item_of(board, "Poor")
    assert (measured.covered, measured.required) == (7, 7)


def test_reported_rows_name_their_source_in_every_format(tmp_path: Path) -> None:
    write_cell(tmp_path / "runs/cells", method("poor", 0.8), 0)
    built = {b.protocol: b for b in build_boards(tmp_path / "runs", tmp_path / "out", reported=REPORTED)}
    for path in (built["cross-brats-mu"].leaderboard, built["cross-brats-mu"].markdown, built["cross-brats-mu"].report):
        assert "README of the AnyAD code (arXiv 2512.21264), cross-domain table" in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("0.7349", "7.349", "STFPM needs 7 values between 0 and 1"),
        ("0.7349, ", "", "STFPM needs 7 values between 0 and 1"),
        ("aupro", "auroc", "unknown metrics auroc"),
        ("protocol =", "protocols =", "Field required"),
        ("[[row]]", "[[row", "cannot be read"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = (REPORTED / "brats-7subsets.toml").read_text()
    (tmp_path / "x.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=sentence):
        read_reported(tmp_path)
