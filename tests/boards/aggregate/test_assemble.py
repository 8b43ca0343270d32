from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell, write_head
from cell_fixture import change_json

from anyadbench.boards.aggregate.assemble import _untested, make_boards
from anyadbench.boards.aggregate.flags import trivial_f1
from anyadbench.boards.aggregate.model import Board, PairTable
from anyadbench.errors import UserError
from anyadbench.results.cellfiles import read_slice_table
from anyadbench.results.read import read_cells

GOOD = FakeMethod("good", "Good", 2.5, maps=False, budget="paper")
POOR = FakeMethod("poor", "Poor", 1.0, maps=False, budget="paper")


def board_of(runs: Path) -> Board:
    (board,) = make_boards(read_cells(runs))
    return board


def change(cell: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    change_json(cell / "result.json", edit)


def cells(tmp_path: Path, *methods: FakeMethod) -> list[Path]:
    return [write_cell(tmp_path / "cells", method, seed) for method in methods for seed in method.seeds]


def key(board: Board, name: str) -> str:
    return next(variant.key for variant in board.variants if variant.method.name == name)


def ranks(board: Board, metric: str = "aupro") -> dict[str, int | None]:
    return {board.variant(item.variant).label: item.rank for item in board.summaries if item.metric == metric}


def test_one_seed_keeps_the_numbers_of_its_result(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, GOOD)
    row = json.loads((cell / "result.json").read_text())["rows"][2]
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", row["subset"])
    assert line is not None
    estimate = line.metrics["pixel_ap"]
    assert estimate.value == row["metrics"]["pixel_ap"]
    assert (estimate.low, estimate.high) == (None, None)  # an earlier version's were too short
    assert (line.n_subjects, line.n_slices) == (row["n_subjects"], row["n_slices"])


def test_seeds_are_averaged(tmp_path: Path) -> None:
    one, two = cells(tmp_path, FakeMethod("good", "Good", seeds=(0, 4), maps=False))
    for cell, value in ((one, 0.5), (two, 0.7)):

        def edit(data: dict[str, Any], value: float = value) -> None:
            data["rows"][0]["metrics"]["pixel_f1"] = value

        change(cell, edit)
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", SUBSETS[0])
    assert line is not None and line.seeds == (0, 4)
    estimate = line.metrics["pixel_f1"]
    assert estimate.value == pytest.approx(0.6)
    assert (estimate.seed_min, estimate.seed_max) == (0.5, 0.7)


def test_number_missing_in_one_seed_is_not_imputed(tmp_path: Path) -> None:
    one, _ = cells(tmp_path, FakeMethod("good", "Good", seeds=(0, 1), maps=False))

    def edit(data: dict[str, Any]) -> None:
        data["rows"][0]["metrics"]["aupro"] = None
        data["rows"][0]["reasons"] = {"aupro": "No lesion."}

    change(one, edit)
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", SUBSETS[0])
    assert line is not None
    assert line.metrics["aupro"].value is None
    assert line.metrics["aupro"].reason == "Seed 0: No lesion."


def test_summary_holds_mean_worst_and_drops(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, GOOD)
    values = dict(zip(SUBSETS, (0.6, 0.2, 0.5, 0.65, 0.7, 0.55, 0.8), strict=True))

    def edit(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            row["metrics"]["aupro"] = values[row["subset"]]

    change(cell, edit)
    board = board_of(tmp_path)
    item = board.summary(key(board, "good"), "phantom", "aupro")
    assert item is not None
    assert item.mean == pytest.approx(sum(values.values()) / 7)
    assert (item.worst, item.worst_subset, item.full) == (0.2, "T1", 0.8)
    # Without values of single subjects, only subsets with the same subjects as all sequences have a drop.
    assert item.drops == {"T1": pytest.approx(0.6), "F+T1": pytest.approx(0.15), "T1+T2": pytest.approx(0.25)}


def test_as_available_is_shown_but_not_averaged(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, GOOD)

    def edit(data: dict[str, Any]) -> None:
        extra = json.loads(json.dumps(data["rows"][0]))
        extra["subset"] = "as available"
        extra["metrics"]["aupro"] = 0.0
        data["rows"].append(extra)

    change(cell, edit)
    board = board_of(tmp_path)
    item = board.summary(key(board, "good"), "phantom", "aupro")
    assert board.subsets[-1] == "as available"
    assert item is not None and item.required == 7 and item.worst is not None and item.worst > 0


def test_better_mean_ranks_first(tmp_path: Path) -> None:
    cells(tmp_path, POOR, GOOD)
    board = board_of(tmp_path)
    assert ranks(board) == {"Good": 1, "Poor": 2}
    assert [variant.label for variant in board.variants] == ["Good", "Poor"]


def test_equal_means_share_a_rank(tmp_path: Path) -> None:
    made = cells(tmp_path, GOOD, FakeMethod("twin", "Twin", maps=False, budget="paper"), POOR)

    def edit(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            row["metrics"]["aupro"] = 0.9

    change(made[0], edit)
    change(made[1], edit)
    assert ranks(board_of(tmp_path)) == {"Good": 1, "Twin": 1, "Poor": 3}


def test_incomplete_method_is_listed_and_not_ranked(tmp_path: Path) -> None:
    best, _ = cells(tmp_path, GOOD, POOR)
    change(best, lambda data: data["rows"].pop(3))
    board = board_of(tmp_path)
    assert ranks(board) == {"Good": None, "Poor": 1}
    item = board.summary(key(board, "good"), "phantom", "aupro")
    assert item is not None
    assert (item.mean, item.worst, item.covered, item.required) == (None, None, 6, 7)
    assert item.reason == "Incomplete: no number for F+T1."


def test_only_method_that_misses_a_subset_the_data_can_serve_is_incomplete(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, GOOD)

    def edit(data: dict[str, Any]) -> None:
        data["rows"][0]["metrics"] = dict.fromkeys(data["rows"][0]["metrics"])

    change(cell, edit)
    assert ranks(board_of(tmp_path)) == {"Good": None}


def test_subset_that_no_scan_can_serve_counts_against_no_method(tmp_path: Path) -> None:
    for cell in cells(tmp_path, GOOD, POOR):

        def edit(data: dict[str, Any]) -> None:
            row = data["rows"][1]
            row |= {name: 0 for name in row if name.startswith("n_")}
            row |= {"metrics": dict.fromkeys(row["metrics"]), "reasons": {"row": "No scan has T1."}, "intervals": {}}

        change(cell, edit)
    board = board_of(tmp_path)
    assert ranks(board) == {"Good": 1, "Poor": 2}
    item = board.summary(key(board, "good"), "phantom", "aupro")
    assert item is not None and item.required == 6


def test_method_scored_on_other_slices_is_not_ranked(tmp_path: Path) -> None:
    made = cells(tmp_path, GOOD, POOR, FakeMethod("other", "Other", 1.5, maps=False))
    change(made[0], lambda data: data["rows"][0].update(n_slices=3))
    board = board_of(tmp_path)
    assert ranks(board)["Good"] is None
    flagged = {key(board, "good"): True, key(board, "poor"): False}
    lines = [line for line in board.lines if line.variant in flagged]
    assert len(lines) == 2 * len(SUBSETS)
    assert [line for line in lines if ("other test slices" in line.flags) != flagged[line.variant]] == []


@pytest.mark.parametrize(
    ("field", "value", "rank"),
    [("kind", "reported", None), ("kind", "oracle", None), ("protocol.oracle", True, None), ("kind", "external", 1)],
)
def test_kinds_are_never_ranked_together(tmp_path: Path, field: str, value: object, rank: int | None) -> None:
    cells(tmp_path, POOR, FakeMethod("good", "Good", 2.5, maps=False, changes={field: value}))
    assert ranks(board_of(tmp_path)) == {"Good": rank, "Poor": 1}


def test_variants_differ_by_parameters_and_say_so(tmp_path: Path) -> None:
    (first,) = cells(tmp_path, GOOD)
    first.rename(first.with_name("first"))
    cells(tmp_path, FakeMethod("good", "Good", 2.0, maps=False, budget="paper", changes={"method.params.steps": 9}))
    labels = sorted(variant.label for variant in board_of(tmp_path).variants)
    assert labels == ["Good (steps=150)", "Good (steps=9)"]


def test_the_name_of_an_encoder_says_which_weights_a_variant_has(tmp_path: Path) -> None:
    def with_encoder(name: str, weights: str) -> FakeMethod:
        changes = {"method.params.encoder": name, "weights.name": weights}
        return FakeMethod("good", "Good", 2.5, maps=False, budget="paper", changes=changes)

    for number, (name, weights) in enumerate([("small", "small-package"), ("large", "large-package")]):
        (made,) = cells(tmp_path, with_encoder(name, weights))
        made.rename(made.with_name(f"good-{number}"))
    labels = [variant.label for variant in board_of(tmp_path).variants]
    assert sorted(labels) == ["Good (encoder=large)", "Good (encoder=small)"]
    cells(tmp_path, with_encoder("small", "file:small"))
    labels = [variant.label for variant in board_of(tmp_path).variants]
    assert "Good (weights file:small, encoder=small)" in labels and len(set(labels)) == 3


def test_tf32_and_float32_are_not_averaged_and_devices_are(tmp_path: Path) -> None:
    _, second = cells(tmp_path, FakeMethod("good", "Good", 2.0, (0, 1), maps=False, budget="paper"))
    change(second, lambda data: data["numerics"].update(device="cuda"))
    assert [(one.seeds, one.dtype) for one in board_of(tmp_path).variants] == [((0, 1), "float32")]
    change(second, lambda data: data["numerics"].update(tf32=True))
    found = {variant.label: (variant.seeds, variant.dtype) for variant in board_of(tmp_path).variants}
    assert found == {"Good (float32)": ((0,), "float32"), "Good (tf32)": ((1,), "tf32")}


def test_seeds_that_were_scored_on_other_data_are_not_averaged(tmp_path: Path) -> None:
    _, second = cells(tmp_path, FakeMethod("good", "Good", 2.0, (0, 1), maps=False))
    assert len(board_of(tmp_path).variants) == 1
    change(second, lambda data: [row.update(n_normal=row["n_normal"] + 1) for row in data["rows"]])
    variants = board_of(tmp_path).variants
    assert sorted(variant.seeds for variant in variants) == [(0,), (1,)]
    assert len({variant.key for variant in variants}) == 2
    assert len({variant.label for variant in variants}) == 2
    assert all(re.fullmatch(r"Good \(\d+ scored slices\)", variant.label) for variant in variants)


def test_repeated_seed_counts_once_and_the_newest_wins(tmp_path: Path) -> None:
    (first,) = cells(tmp_path, GOOD)
    change(first, lambda data: data["rows"][0]["metrics"].update(aupro=0.123))
    older = first.rename(first.with_name("zz-older"))
    write_head(older, "done", "good", 0, cell_id=None, finished="2025-01-01T00:00:00+00:00")
    cells(tmp_path, GOOD)
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", SUBSETS[0])
    assert line is not None and line.seeds == (0,) and line.value("aupro") != 0.123
    assert any("newest cell of each seed" in notice for notice in board.notices)


def test_protocol_versions_never_share_a_board(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", GOOD, 0)
    before = FakeMethod("poor", "Poor", changes={"protocol.hash": "0ld0ld0ld"}, maps=False)
    old = write_cell(tmp_path / "cells", before, 0)
    write_head(old, "done", "poor", 0, cell_id=None, finished="2020-01-01T00:00:00+00:00")
    boards = make_boards(read_cells(tmp_path))
    assert sorted(board.slug for board in boards) == ["phantom-7subsets", "phantom-7subsets@0ld0ld0l-m1"]
    assert all(len(board.variants) == 1 and board.notices for board in boards)


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden", "x" * 200, "a\nb"])
def test_protocol_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    cell = write_cell(tmp_path / "cells", GOOD, 0)
    write_cell(tmp_path / "cells", POOR, 0)
    change(cell, lambda data: data["protocol"].update(name=name))
    write_head(cell, "done", "good", 0, protocol=name, cell_id=None)
    board = board_of(tmp_path)
    assert [variant.label for variant in board.variants] == ["Poor"]
    assert "cannot name a protocol" in str(board.unreadable[0].problem)


def test_damaged_cell_is_listed_and_blocks_nothing(tmp_path: Path) -> None:
    cells(tmp_path, GOOD)
    (tmp_path / "cells/broken").mkdir()
    (tmp_path / "cells/broken/cell.json").write_text("{")
    write_head(tmp_path / "cells/failed", "failed", "dae", 0, error="RuntimeError: no")
    board = board_of(tmp_path)
    assert len(board.variants) == 1
    assert [record.folder.name for record in board.unreadable] == ["broken"]
    assert [record.folder.name for record in board.failures] == ["failed"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "test,subset\nphantom,F\n",
        lambda text: text + "phantom,F\n",
        lambda text: text + f"phantom,F,s,s,{'9' * 400},0.5,0,0,0.5,0.5\n",
        lambda text: text + "phantom,F,s,s,1,0.5,0,0,nan,0.5\n",
        lambda text: text + "phantom,F,s,s,1,0.5,2,0,0.5,0.5\n",
    ],
)
def test_damaged_slice_tables_are_refused(damage: Callable[[str], str], tmp_path: Path) -> None:
    (first,) = cells(tmp_path, GOOD)
    table = first / "scores/slices.csv"
    table.write_text(damage(table.read_text()))
    with pytest.raises(UserError, match=r"scores/slices.csv is damaged near line \d+; run the cell again"):
        read_slice_table(first)


def flagged(tmp_path: Path, **metrics: float) -> tuple[str, ...]:
    (cell,) = cells(tmp_path, GOOD)
    change(cell, lambda data: data["rows"][0]["metrics"].update(metrics))
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", SUBSETS[0])
    assert line is not None
    return line.flags


def test_plausible_numbers_have_no_flag(tmp_path: Path) -> None:
    assert flagged(tmp_path) == ()


@pytest.mark.parametrize(
    ("metric", "value", "flag"),
    [
        ("pixel_auroc", 0.499, "below chance"),
        ("image_auroc", 0.2, "below chance"),
        ("pixel_auroc", 0.5, "maps all equal"),
        ("image_auroc", 0.5, "image scores all equal"),
        ("pixel_f1", trivial_f1(9000 / 409000), "pixel F1 at floor"),
    ],
)
def test_implausible_number_is_flagged(tmp_path: Path, metric: str, value: float, flag: str) -> None:
    assert flag in flagged(tmp_path, **{metric: value})


def test_counts_of_the_brain_say_nothing_about_the_field(tmp_path: Path) -> None:
    """From metric version 3 on, the counts at the threshold are inside the brain."""
    floor = trivial_f1(9000 / 409000)
    for number, (values, expected) in enumerate(
        (({"pixel_f1": floor, "brain_f1": 0.4}, ()), ({"brain_f1": floor}, ("brain F1 at floor",)))
    ):
        runs = tmp_path / str(number)
        (cell,) = cells(runs, GOOD)
        change(cell, lambda data: data.update(metric_version="3"))
        change(cell, lambda data, values=values: data["rows"][0]["metrics"].update(values))
        board = board_of(runs)
        line = board.line(key(board, "good"), "phantom", SUBSETS[0])
        assert line is not None and line.flags == expected


def test_image_f1_at_its_floor_is_flagged(tmp_path: Path) -> None:
    board_rows = json.loads((cells(tmp_path / "a", GOOD)[0] / "result.json").read_text())["rows"]
    share = board_rows[0]["n_abnormal"] / board_rows[0]["n_slices"]
    assert "image F1 at floor" in flagged(tmp_path / "b", image_f1=trivial_f1(share))
    assert "image F1 at floor" not in flagged(tmp_path / "c", image_f1=trivial_f1(share) + 0.01)


def test_few_subjects_and_fed_sequences_are_flagged(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, GOOD)
    change(cell, lambda data: data["rows"][0].update(n_subjects=4, feed={"flair": "t1ce"}))
    board = board_of(tmp_path)
    line = board.line(key(board, "good"), "phantom", SUBSETS[0])
    assert line is not None and line.flags == ("few subjects", "other sequence fed")


def test_random_weights_and_small_budget_mark_the_variant(tmp_path: Path) -> None:
    cells(tmp_path, FakeMethod("good", "Good", maps=False, budget="tiny", changes={"weights.marked": True}))
    assert board_of(tmp_path).variants[0].flags == ("random weights", "tiny budget")


def test_one_fit_per_subset_becomes_one_variant(tmp_path: Path) -> None:
    made = []
    for subset in SUBSETS:
        (cell,) = cells(tmp_path, FakeMethod("good", "Good", maps=False, changes={"method.missing": "retrain"}))

        def edit(data: dict[str, Any], subset: str = subset) -> None:
            data["rows"] = [row for row in data["rows"] if row["subset"] == subset]

        change(cell, edit)
        made.append(cell.rename(cell.with_name(f"cell-{len(made)}")))
    board = board_of(tmp_path)
    item = board.summary(board.variants[0].key, "phantom", "aupro")
    assert len(board.variants) == 1 and item is not None and item.covered == 7
    assert board.notices == ()


def test_a_metric_in_which_no_method_is_tested_has_one_notice() -> None:
    why = "the result stores no values of this metric without each subject."
    none = PairTable(("a", "b"), reason="x", left_out={"a": why, "b": why})
    some = PairTable(("a", "b"), left_out={"c": "c is damaged."})
    pairs = {("measured", "t", "aupimo"): none, ("measured", "t", "other"): none, ("measured", "t", "aupro"): some}
    assert _untested({"a": "A", "b": "B", "c": "C"}, pairs) == [
        f"No method is in a test of aupimo, other on t: {why}",
        "C is in no test on t: c is damaged.",
    ]
