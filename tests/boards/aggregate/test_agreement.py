"""Rank correlation with reported tables, their remarks, and rows that were chosen on test figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from boards_fixture import FakeMethod, write_cell
from cell_fixture import change_json
from places import ROOT
from scipy import stats

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.verdicts import verdicts

REPORTED = ROOT / "leaderboards" / "reported"
SKILLS = {"stfpm": 1.0, "rd4ad": 1.4, "aeflow": 2.0, "dae": 1.2, "recontrast": 2.4, "inpformer": 1.7}
TABLE = ("brats-7subsets", "pixel_ap")


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


def test_test_sets_are_not_mixed(tmp_path: Path) -> None:
    """The means of two test sets are correlated apart, and the page names them."""
    for name, skill in SKILLS.items():
        method = FakeMethod(name, name, skill, maps=False, budget="paper")
        cell = write_cell(tmp_path / "runs/cells", method, 0, tests=("one", "two"))

        def turn(data: dict[str, Any], level: float = skill / 10) -> None:
            for row in data["rows"]:
                row["metrics"]["pixel_ap"] = 0.5 + level if row["test"] == "one" else 0.5 - level

        change_json(cell / "result.json", turn)
    board = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}["phantom-7subsets"]
    found = {item.test: item.rho for item in board.agreements if (item.source, item.metric) == TABLE}
    assert found.keys() == {"one", "two"} and found["one"] == pytest.approx(-found["two"]) and found["one"] != 0
    for test in ("one", "two"):
        assert any(text.startswith(f"Rank correlation (Spearman) on {test} with the") for text in verdicts(board))


def test_metrics_that_rank_nothing_are_correlated_and_counted_apart(tmp_path: Path) -> None:
    """With ranks by normalised scores the plain image metrics have no rank, and publications report just these."""
    for number, (name, skill) in enumerate(SKILLS.items()):
        changes = {"protocol.rank_height": True}
        cell = write_cell(tmp_path / "runs/cells", FakeMethod(name, name, skill, maps=False, changes=changes), 0)
        if number == 0:
            change_json(
                cell / "result.json", lambda data: [row["metrics"].update(pixel_ap=None) for row in data["rows"]]
            )
    board = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}["phantom-7subsets"]
    counts = {item.metric: item.n for item in board.agreements if item.source == "brats-7subsets"}
    assert counts["image_auroc"] == 6 and counts["pixel_ap"] == 5
    (text,) = [one for one in verdicts(board) if "reported for brats-7subsets" in one]
    assert "for brats-7subsets: " in text and "(6 in common)" in text and "(5 in common)" in text


def test_random_weights_and_other_data_are_left_out(tmp_path: Path) -> None:
    board = board_of(tmp_path, SKILLS)
    before = {(item.source, item.metric): item for item in board.agreements}
    marked = FakeMethod("stfpm", "Marked", 9.0, maps=False, changes={"weights.marked": True})
    elsewhere = FakeMethod("rd4ad", "Elsewhere", 9.0, maps=False, changes={"method.params.steps": 7})
    for name, method, subjects in (("marked", marked, 8), ("elsewhere", elsewhere, 6)):
        write_cell(tmp_path / "more", method, 0, subjects=subjects).rename(tmp_path / "runs/cells" / name)
    again = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}["phantom-7subsets"]
    assert len(again.variants) == len(board.variants) + 2
    assert {(item.source, item.metric): item for item in again.agreements} == before


def test_of_a_method_in_several_ways_the_highest_mean_counts(tmp_path: Path) -> None:
    board_of(tmp_path, SKILLS)
    better = FakeMethod("stfpm", "Better", 3.0, maps=False, budget="paper", changes={"method.params.steps": 7})
    write_cell(tmp_path / "more", better, 0).rename(tmp_path / "runs/cells/better")
    both = {board.slug: board for board in load_boards(tmp_path / "runs", reported=REPORTED)}["phantom-7subsets"]
    alone = board_of(tmp_path / "alone", SKILLS | {"stfpm": 3.0})
    assert {i.metric: i.rho for i in both.agreements} == {i.metric: i.rho for i in alone.agreements}


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
