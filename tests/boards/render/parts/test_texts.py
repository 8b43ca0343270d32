from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from boards_fixture import SUBSETS
from synthetic_board import TEST, synthetic_board

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.csvfile import leaderboard_csv, summary_csv
from anyadbench.boards.render.markdown import board_markdown
from anyadbench.boards.render.parts.costs import cost_label, cost_text, variant_costs
from anyadbench.boards.render.parts.notices import grouped_notices
from anyadbench.boards.render.parts.prevalence import abnormal_share, lesion_share, prevalence_text
from anyadbench.boards.render.terminal import plain_console, print_board
from anyadbench.boards.render.text import DASH, p_text, percent, signed

REPEATED = tuple(
    f"Method {i}: left out {i + 1} rows of earlier cells with the same seed; the newest cell of each seed counts."
    for i in range(3)
)


@pytest.fixture(scope="module")
def board() -> Board:
    return synthetic_board(12, notices=(*REPEATED, "Something else."))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def table(text: str, title: str) -> list[list[str]]:
    """Return the cells of the Markdown table below a heading."""
    part = text[text.index(title) :].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines()]


def test_costs_are_averaged_over_cells(board: Board) -> None:
    one, two = board.variants[0], board.variants[1]
    found = variant_costs(replace(one, cells=(*one.cells, *two.cells)))
    assert found["fit_seconds"] == pytest.approx(118 * 1.5) and found["parameters"] == 1500
    assert found["score_per_slice_ms"] == pytest.approx(1000 * 21.5 * 1.5 / 490)
    assert not {"score_seconds", "scored_slices", "scored_maps"} & set(found)


@pytest.mark.parametrize(
    ("name", "label"),
    [("host_mb", "memory (MB)"), ("warm_up_seconds", "warm up (s)"), ("index_gb", "index (GB)"), ("things", "things")],
)
def test_costs_have_names_with_units(name: str, label: str) -> None:
    assert cost_label(name) == label


def test_costs_have_three_digits() -> None:
    assert [cost_text(value) for value in (None, 1234.5, 12.345, 0.01234)] == [DASH, "1,234", "12.3", "0.0123"]


def test_csv_files_have_costs_and_prevalence(board: Board) -> None:
    long, wide = rows(leaderboard_csv(board)), rows(summary_csv(board))
    for row in (long[0], wide[0]):
        found = [row[name] for name in ("fit_seconds", "score_per_slice_ms", "host_mb", "device_mb")]
        assert found == ["118.000", "43.878", "2000.000", "500.000"]
        assert (row["parameters"], row["train_slices"]) == ("1000", "128")
        assert "seen_slices" not in row
    assert (long[0]["abnormal_share"], long[0]["lesion_share"]) == ("0.550000", "0.010000")


def test_prevalence_is_a_dash_where_it_is_not_stated(board: Board) -> None:
    line = board.line("key0", TEST, "F")
    assert line is not None
    assert prevalence_text(line) == "55 % of slices, 1 % of pixels"
    bare = replace(line, threshold=None, n_normal=0, n_abnormal=0)
    assert abnormal_share(bare) is None and lesion_share(bare) is None and prevalence_text(bare) == ""


@pytest.mark.parametrize(
    ("value", "shown"), [(0.553, "55 %"), (0.0083, "0.83 %"), (0.0, "0 %"), (1.0, "100 %"), (None, DASH)]
)
def test_percent(value: float | None, shown: str) -> None:
    assert percent(value) == shown


def test_signs_and_p_values() -> None:
    assert [signed(value) for value in (0.0123, -0.5, 0.0, None)] == ["+.012", "-.500", ".000", DASH]
    assert [p_text(value) for value in (0.0004, 0.0312, 1.0)] == ["< .001", ".031", "1.000"]


def test_flags_and_notices_are_one_line_each_with_a_count(board: Board) -> None:
    found = grouped_notices(board)
    assert [item.flag for item in found] == ["not above the controls", "", ""]
    assert found[0].count == "9 methods, 63 rows"
    assert found[0].places[0] == "Method 3"
    assert found[1].count == "3 such notices" and found[1].places == REPEATED
    assert (found[2].sentence, found[2].places) == ("Something else.", ())


def test_flag_of_some_subsets_names_them(board: Board) -> None:
    lines = [replace(line, flags=("below chance",) if line.subset in SUBSETS[:2] else ()) for line in board.lines]
    (item,) = grouped_notices(replace(board, lines=tuple(lines), notices=()))
    assert item.places[0] == "Method 0 (F, T1)" and item.count == "13 methods, 26 rows"


def test_markdown_has_ranks_left_open_costs_and_robustness(board: Board) -> None:
    text = board_markdown(board)
    ranking = table(text, "## phantom: measured")
    assert ranking[0][-6:] == [
        "Rank (P-AP)", "Ranks left open", "Beats", "Against the best control", "Hardest: T1", "Subjects needed",
    ]  # fmt: skip
    assert ranking[5][-6:] == [
        "4 b",
        "1 to 7",
        "6 of 11",
        "+.100 \N{WHITE CIRCLE} [.000, .200]",
        ".700 [.650, .750]",
        "40",
    ]
    assert table(text, "### Pixel AP by number of sequences")[0] == [
        "Method",
        "1 sequence",
        "2 sequences",
        "3 sequences",
    ]
    assert table(text, "## Costs")[2][:4] == ["Method 0", "cpu", "118", "43.9"]
    assert "prevalence: 55 % of slices, 1 % of pixels" in text
    assert text.count("not above the controls (9 methods, 63 rows)") == 1


def test_markdown_marks_numbers_that_are_not_above_the_control(board: Board) -> None:
    cells = {row[0].split(" (")[0]: row[1] for row in table(board_markdown(board), "### Pixel AP\n")}
    assert cells["Method 0"] == ".890 [.840, .940]"
    assert "\N{WHITE DOWN-POINTING TRIANGLE}" in cells["Method 11"]


def test_terminal_groups_flags_departures_and_notices(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    print_board(board, console=plain_console())
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("Not above the controls (9 methods, 63 rows):") == 1
    assert "12 methods depart from their publications in 24 points; the report lists them." in text
    assert "(3 such notices, listed in the report)" in text
    assert "P-AP½" not in text and " 4 b " in text


def test_terminal_shows_prevalence_of_one_method(board: Board, capsys: pytest.CaptureFixture[str]) -> None:
    print_board(board, console=plain_console(), method="m0")
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.split()[:1] == ["F+T2"]]
    assert row.split()[1:5] == ["8", "80", "55", "%"]
    assert max(map(len, out.splitlines())) <= 100
