"""Rank correlation with reported tables, their remarks, and rows that were chosen on test figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards_fixture import FakeMethod, write_cell
from places import ROOT
from scipy import stats

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.verdicts import verdicts

REPORTED = ROOT / "leaderboards" / "reported"
SKILLS = {"stfpm": 1.0, "rd4ad": 1.4, "aeflow": 2.0, "dae": 1.2, "recontrast": 2.4, "inpformer": 1.7}


def board_of(tmp_path: Path, skills: dict[str, float]) -> Board:
    for name, skill in skills.items():
        write_cell(tmp_path / "runs/cells", FakeMethod(name, name, skill, maps=False, budget="paper"), 0)
    boards = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}
    return boards["phantom-7subsets"]


def test_ranks_are_correlated_with_those_of_the_table(tmp_path: Path) -> None:
    board = board_of(tmp_path, SKILLS)
    found = {item.metric: item for item in board.agreements if item.source == "brats-7subsets"}
    reported = {
        "stfpm": 0.1848,
        "rd4ad": 0.3894,
        "aeflow": 0.0601,
        "dae": 0.2788,
        "recontrast": 0.5369,
        "inpformer": 0.7510,
    }
    keys = {variant.method.name: variant.key for variant in board.variants if variant.kind == "measured"}
    ours = [item.mean for name in SKILLS if (item := board.summary(keys[name], "phantom", "pixel_ap"))]
    expected = stats.spearmanr(ours, [reported[name] for name in SKILLS]).statistic
    assert found["pixel_ap"].rho == pytest.approx(expected) and found["pixel_ap"].n == 6
    assert any(text.startswith("Rank correlation (Spearman) with the methods reported for brats-7subsets, 6 in common")
               for text in verdicts(board))  # fmt: skip


def test_four_methods_are_too_few(tmp_path: Path) -> None:
    assert board_of(tmp_path, dict(list(SKILLS.items())[:4])).agreements == ()


def test_remarks_on_a_table_are_notices_of_its_board(tmp_path: Path) -> None:
    write_cell(tmp_path / "runs/cells", FakeMethod("stfpm", "STFPM", maps=False), 0)
    boards = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}
    said = " ".join(boards["cross-brats-mu"].notices)
    assert "hides no sequence in training and testing" in said and "the two cannot be from one run" in said
    assert "does not say whether the numbers are for all sequences" in " ".join(boards["brats-7subsets"].notices)


def test_a_choice_on_test_figures_is_a_flag(tmp_path: Path) -> None:
    changes = {"method.chosen_on": "phantom-7subsets"}
    write_cell(tmp_path / "runs/cells", FakeMethod("mine", "Mine", maps=False, changes=changes), 0)
    (board,) = load_boards(tmp_path / "runs")
    assert "chosen on test figures" in board.variants[0].flags


def test_the_descriptors_title_the_published_method_plainly() -> None:
    from anyadbench.plugins import find_method

    plain, extension = find_method("anyad-intended")[0], find_method("anyad")[0]
    assert (plain.title, plain.chosen_on) == ("AnyAD", "")
    # Its form is chosen on the development phantom, which no board tests on.
    assert (extension.title, extension.chosen_on) == ("AnyAD + teacher (this project)", "")


def test_a_departure_about_the_last_state_holds_only_where_it_is_scored() -> None:
    from anyadbench.plugins import find_method

    descriptor = find_method("anyad-intended")[0]
    last = "The last step's model is scored; the release keeps the epoch that is best on the test set."
    assert last in descriptor.departures_under("last")
    assert last not in descriptor.departures_under("test-image-ap")
