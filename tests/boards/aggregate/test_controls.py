"""Every number against the best control, by subject."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards_fixture import SUBSETS, FakeMethod, write_cell

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.controls import NOT_ABOVE
from anyadbench.boards.aggregate.model import Board, Line, Summary
from anyadbench.boards.render.verdicts import verdicts
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
    assert "could not be tested: too few subjects." in verdicts(board)[0]


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


def test_a_board_without_controls_says_so(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", method("good", 2.8), 0)
    (board,) = make_boards(read_cells(tmp_path))
    assert verdicts(board)[0] == "No control was run, so nothing says what brightness alone reaches."
    assert line_of(board, "good", "F").against == {} and board.hardest == {}
