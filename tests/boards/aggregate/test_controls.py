"""Every number against the best control, by subject."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell
from cell_fixture import change_json

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.controls import NOT_ABOVE
from anyadbench.boards.aggregate.model import Board, Line, Summary
from anyadbench.boards.render.verdicts import verdicts
from anyadbench.metrics.intervals.paired import family_p
from anyadbench.results.read import read_cells


def method(name: str, skill: float, **changes: object) -> FakeMethod:
    return FakeMethod(name, name, skill, maps=False, budget="paper", replicates=True, changes=dict(changes))


def board_of(runs: Path, *methods: FakeMethod, subjects: int = 12) -> Board:
    """A board of methods and both controls; the fixture's rows with T1 have two thirds of the subjects."""
    controls = (
        method("control:intensity", 1.6, kind="control"),
        method("control:brain", 0.3, kind="control"),
    )
    for one in (*methods, *controls):
        write_cell(runs / "cells", one, 0, subjects=subjects)
    (board,) = make_boards(read_cells(runs))
    return board


def line_of(board: Board, name: str, subset: str) -> Line:
    key = next(variant.key for variant in board.variants if variant.method.name == name)
    line = board.line(key, "phantom", subset)
    assert line is not None
    return line


def item_of(board: Board, name: str) -> Summary:
    key = next(variant.key for variant in board.variants if variant.method.name == name)
    item = board.summary(key, "phantom", "pixel_ap")
    assert item is not None
    return item


def test_a_method_is_compared_with_the_better_control(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8), method("poor", 0.6))
    for subset in SUBSETS:
        rivals = {
            name: line_of(board, name, subset).value("pixel_ap") for name in ("control:intensity", "control:brain")
        }
        for name in ("good", "poor"):
            found = line_of(board, name, subset).against["pixel_ap"]
            assert board.variant(found.control).method.name == max(rivals, key=lambda key: rivals[key] or 0)
            value = line_of(board, name, subset).value("pixel_ap")
            assert value is not None and found.difference == pytest.approx(value - max(v or 0 for v in rivals.values()))
    good, poor = (line_of(board, name, "F").against["pixel_ap"] for name in ("good", "poor"))
    assert good.verdict == "better" and good.p is not None and good.p < 0.05
    assert good.low is not None and good.low > 0
    assert poor.verdict == "below"
    assert NOT_ABOVE in line_of(board, "poor", "F").flags and NOT_ABOVE not in line_of(board, "good", "F").flags


def test_a_small_lead_over_a_control_is_no_lead(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("close", 1.6))
    verdict = {line_of(board, "close", subset).against["pixel_ap"].verdict for subset in ("F", "T2", "F+T2")}
    assert verdict == {"below", "not better"}


def test_too_few_subjects_are_no_lead_either(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8), subjects=7)
    found = line_of(board, "good", "F").against["pixel_ap"]
    assert found.difference > 0 and found.verdict == "untested"
    assert found.reason == "No p-value: 7 test subjects, and a test needs 8."
    assert NOT_ABOVE in line_of(board, "good", "F").flags
    assert "could not be tested: 7 test subjects, and a test needs 8." in verdicts(board)[0]


def test_a_number_is_untested_for_the_reason_that_it_has(tmp_path: Path) -> None:
    bare = FakeMethod("bare", "bare", 2.8, maps=False, budget="paper")
    board = board_of(tmp_path, bare)
    assert {line_of(board, "bare", subset).against["pixel_ap"].verdict for subset in ("F", "T2")} == {"untested"}
    (sentence, *_) = verdicts(board)
    assert "could not be tested: there are no values without each subject." in sentence and "too few" not in sentence


def test_verdicts_are_corrected_for_all_methods_subsets_and_means(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8), method("close", 1.75), method("poor", 0.6))
    found = [line.against["pixel_ap"] for line in board.lines if "pixel_ap" in line.against]
    found += [item.against for item in board.summaries if item.metric == "pixel_ap" and item.against is not None]
    assert len(found) == 3 * 8
    adjusted = family_p([one.t or math.nan for one in found], [one.df or math.nan for one in found])
    assert [one.p_holm for one in found] == pytest.approx(adjusted.tolist())
    assert all((one.verdict == "better") == (one.difference > 0 and one.p_holm <= 0.05) for one in found)
    assert any(one.p < 0.05 < one.p_holm and one.verdict == "not better" for one in found if one.difference > 0)
    for line in board.lines:
        if line.against:
            assert (NOT_ABOVE in line.flags) == (line.against["pixel_ap"].verdict != "better")


def test_means_are_compared_too_and_controls_are_never_ranked(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8), method("poor", 0.6))
    assert item_of(board, "good").against is not None and item_of(board, "poor").against is not None
    assert item_of(board, "good").against.verdict == "better"  # type: ignore[union-attr]
    assert item_of(board, "poor").against.verdict == "below"  # type: ignore[union-attr]
    control = item_of(board, "control:intensity")
    assert control.rank is None and control.against is None and control.reason == "A control: shown, never ranked."
    assert [variant.kind for variant in board.variants] == ["measured", "measured", "control", "control"]


def test_the_hardest_subset_is_that_of_the_brightness_control(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8))
    values = {subset: line_of(board, "control:intensity", subset).value("pixel_ap") or 0 for subset in SUBSETS}
    assert board.hardest["phantom", "pixel_ap"] == min(values, key=lambda name: values[name])
    hardest = item_of(board, "good").hardest
    assert hardest == line_of(board, "good", board.hardest["phantom", "pixel_ap"]).metrics["pixel_ap"]


def test_the_first_sentence_counts_who_beats_the_controls(tmp_path: Path) -> None:
    board = board_of(tmp_path, method("good", 2.8), method("poor", 0.6))
    assert verdicts(board)[0].startswith(
        "Pixel AP: 1 of 2 methods beat the better of brain mask and brightness on at least one of 7 subsets, "
    )
    assert "p at most .05 after Holm's correction for all methods and subsets of the board" in verdicts(board)[0]


def keep(cell: Path, *subsets: str) -> None:
    """Leave only some rows in a cell."""
    change_json(
        cell / "result.json",
        lambda data: data.update(rows=[row for row in data["rows"] if row["subset"] in subsets]),
    )


def test_a_method_that_lacks_subsets_does_not_beat_the_controls_on_all(tmp_path: Path) -> None:
    keep(write_cell(tmp_path / "cells", method("part", 2.8), 0, subjects=12), "F")
    board = board_of(tmp_path, method("poor", 0.6))
    assert line_of(board, "part", "F").against["pixel_ap"].verdict == "better"
    assert verdicts(board)[0].startswith(
        "Pixel AP: 1 of 2 methods beat the better of brain mask and brightness on at least one of 7 subsets, 0 on all "
    )


def test_subsets_that_a_test_set_does_not_have_are_not_counted(tmp_path: Path) -> None:
    names = ("good", "control:intensity", "control:brain")
    skills = {"good": 2.8, "control:intensity": 1.6, "control:brain": 0.3}
    for name in names:
        changes = {} if name == "good" else {"kind": "control"}
        keep(write_cell(tmp_path / "cells", method(name, skills[name], **changes), 0, subjects=12), "F", "T2", "F+T2")
    (board,) = make_boards(read_cells(tmp_path))
    assert verdicts(board)[0].startswith(
        "Pixel AP: 1 of 1 method beats the better of brain mask and brightness on at least one of 3 subsets, 1 on all "
    )


def test_an_undefined_headline_is_not_a_missing_control(tmp_path: Path) -> None:
    for name in ("good", "control:intensity"):
        cell = write_cell(tmp_path / "cells", method(name, 2.0, **({"kind": "control"} if ":" in name else {})), 0)
        change_json(cell / "result.json", lambda data: [row["metrics"].update(pixel_ap=None) for row in data["rows"]])
    (board,) = make_boards(read_cells(tmp_path))
    assert verdicts(board)[0] == "Pixel AP is undefined for every method, so none is compared in it."


def test_a_control_without_a_row_of_any_method_is_not_a_missing_control(tmp_path: Path) -> None:
    keep(write_cell(tmp_path / "cells", method("good", 2.8), 0), "F")
    keep(write_cell(tmp_path / "cells", method("control:intensity", 1.6, kind="control"), 0), "T1")
    (board,) = make_boards(read_cells(tmp_path))
    assert verdicts(board)[0].startswith("No control was scored on the slices of a method, so nothing says what")


def test_a_board_without_controls_says_so(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", method("good", 2.8), 0)
    (board,) = make_boards(read_cells(tmp_path))
    assert verdicts(board)[0] == "No control was run, so nothing says what brightness alone reaches."
    assert line_of(board, "good", "F").against == {} and board.hardest == {}


def test_a_control_of_other_test_data_is_no_rival(tmp_path: Path) -> None:
    """A brightness control on fewer subjects, with better numbers, changes nothing."""
    control = method("control:intensity", 2.9, kind="control")
    elsewhere = write_cell(tmp_path / "cells", control, 0, subjects=9)
    elsewhere.rename(elsewhere.with_name("elsewhere"))
    board = board_of(tmp_path, method("good", 2.8))
    brightness = {one.cells[0].folder.name: one.key for one in board.variants if one.method.name == "control:intensity"}
    assert len(brightness) == 2
    compared = [line.against["pixel_ap"].control for line in board.lines if "pixel_ap" in line.against]
    compared += [item.against.control for item in board.summaries if item.against is not None]
    assert len(compared) > 7 and brightness["elsewhere"] not in compared
    alone = board_of(tmp_path / "alone", method("good", 2.8))
    assert board.hardest == alone.hardest
    ours, theirs = item_of(board, "good").against, item_of(alone, "good").against
    assert ours is not None and theirs is not None and replace(ours, control=theirs.control) == theirs


def test_a_method_that_shares_no_data_with_a_control_is_not_compared(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", method("other", 2.8), 0, subjects=9)
    board = board_of(tmp_path)
    assert line_of(board, "other", "F").against == {} and item_of(board, "other").against is None
    assert verdicts(board)[0].startswith("No control was scored on the slices of a method")
