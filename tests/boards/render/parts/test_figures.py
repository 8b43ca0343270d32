from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from boards_fixture import METRICS
from synthetic_board import CONTROL, TEST, synthetic_board

from anyadbench.boards.aggregate.model import Board, PairTable
from anyadbench.boards.render import plots
from anyadbench.boards.render.parts.heat_maps import heat_maps
from anyadbench.boards.render.parts.labels import CHARACTER, HEIGHT, Box, place_labels
from anyadbench.boards.render.parts.pareto import Method, pareto_front, pareto_plot
from anyadbench.boards.render.parts.references import MARKS, best_control, best_mean, mark, verdict_text
from anyadbench.boards.render.parts.robustness import robustness
from anyadbench.boards.render.parts.robustness_numbers import by_count
from anyadbench.boards.render.parts.significance import matrices

HOSTILE = '<script>alert(1)</script>"&'


@pytest.fixture(scope="module")
def board() -> Board:
    return synthetic_board(12)


def apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.mark.parametrize("count", [1, 8, 42, 100])
def test_labels_cover_neither_each_other_nor_points_nor_the_edge(count: int) -> None:
    rng = np.random.default_rng(count)
    points = [(float(x), float(y)) for x, y in rng.uniform((20, 20), (380, 280), (count, 2))]
    edge, line = (0.0, 0.0, 400.0, 300.0), (0.0, 149.0, 400.0, 151.0)
    labels = [one for one in place_labels(points, [(f"Method {i}", str(i)) for i in range(count)], edge, [line]) if one]
    assert all(apart(one.box, other.box) for one, other in combinations(labels, 2))
    for label in labels:
        assert apart(label.box, line)
        assert all(apart(label.box, (x - 5, y - 5, x + 5, y + 5)) for x, y in points)
        assert label.box[0] >= 0 and label.box[1] >= 0 and label.box[2] <= 400 and label.box[3] <= 300
        assert label.box[2] - label.box[0] >= CHARACTER * len(label.text) - 1e-9
        assert label.box[3] - label.box[1] == pytest.approx(HEIGHT)
    assert len(labels) >= 0.9 * count


def test_label_is_shortened_and_then_dropped_where_there_is_no_room() -> None:
    edge = (0.0, 0.0, 60.0, 40.0)
    (short,) = place_labels([(30.0, 20.0)], [("a name far too long", "7")], edge)
    assert short is not None and short.text == "7"
    assert place_labels([(30.0, 20.0)], [("a name far too long",)], edge) == [None]


def test_front_holds_the_methods_that_none_beats_at_their_cost() -> None:
    values = [(3, 0.5), (1, 0.2), (2, 0.2), (4, 0.4), (5, 0.9), (1, 0.1)]
    methods = [Method(i, str(i), cost, quality) for i, (cost, quality) in enumerate(values)]
    assert [one.number for one in pareto_front(methods)] == [1, 0, 4]


def test_pareto_plot_shows_every_method_the_front_and_the_control() -> None:
    methods = [Method(i + 1, f"Name {i}", 10.0 + 7 * i % 50, 0.1 + 0.01 * i) for i in range(42)]
    drawn = str(pareto_plot([*methods, Method(43, HOSTILE, 3.0, 0.9)], "t", ("s", "AP"), (HOSTILE, 0.7)))
    assert drawn.count("<title>") == 43 + 2 and "<script" not in drawn
    assert drawn.count('class="front"') == drawn.count('class="control"') == 1
    named = re.findall(r'class="label"[^>]*>(\d+) ', drawn)
    assert len(named) <= len(pareto_front(methods)) + 1


def test_cost_plots_have_a_control_and_numbers_of_the_table(board: Board) -> None:
    made = plots.costs(board)
    assert made["names"] == [
        "training (s)", "scoring a slice (ms)", "memory (MB)", "GPU memory (MB)", "parameters", "slices in training",
    ]  # fmt: skip
    assert len(made["plots"]) == 5 and len(made["rows"]) == 13
    for plot in made["plots"]:
        assert 'class="control"' in plot and "Best control: Brightness (control), 0.6000" in plot
        assert "<title>12 Method 11:" in plot and "<title>13 " not in plot


def test_interval_plots_have_the_best_control_of_every_subset(board: Board) -> None:
    for part in plots.intervals(board):
        assert part["plot"].count("Best control on ") == part["plot"].count('class="control"') == 7


def test_best_control_is_the_higher_one(board: Board) -> None:
    low = replace(board.variant(CONTROL), key="low", label="Brain mask (control)")
    lines = [line for line in board.lines if line.variant == CONTROL]
    worse = [
        replace(line, variant="low", metrics={m: replace(e, value=0.2) for m, e in line.metrics.items()})
        for line in lines
    ]
    means = [replace(item, variant="low", mean=0.1) for item in board.summaries if item.variant == CONTROL]
    both = replace(
        board,
        variants=(*board.variants, low),
        lines=(*board.lines, *worse),
        summaries=(*board.summaries, *means),
    )
    found, mean = best_control(both, TEST, "T2", "aupro"), best_mean(both, TEST, "aupro")
    assert found is not None and found[0].key == CONTROL and found[1] == pytest.approx(0.61)
    assert mean is not None and mean[0].key == CONTROL and mean[1] == 0.6
    alone = replace(board, variants=board.variants[:-1])
    assert best_control(alone, TEST, "T2", "aupro") is None and best_mean(alone, TEST, "aupro") is None


def test_heat_map_marks_what_is_not_better_than_the_best_control(board: Board) -> None:
    part = next(part for part in heat_maps(board) if part.metric == "pixel_ap")
    assert [row.control for row in part.rows] == [False] * 12 + [True]
    verdicts = []
    for row, variant in zip(part.rows, board.variants, strict=True):
        line = board.line(variant.key, TEST, "F")
        assert line is not None
        against = line.against.get("pixel_ap")
        assert {cell.mark for cell in row.cells} == {mark(against)}
        if against is not None:
            verdicts.append(against.verdict)
            assert row.cells[0].title.endswith(f"; {verdict_text(board, against)}")
    assert set(verdicts) == {"better", "not better", "below"}
    assert part.marks == {MARKS["not better"], MARKS["below"]}


def test_verdict_text_has_difference_control_p_and_verdict(board: Board) -> None:
    line = board.line("key0", TEST, "F")
    assert line is not None
    assert verdict_text(board, line.against["pixel_ap"]) == "+.300 against Brightness (control), p .001: better"


@pytest.mark.parametrize("count", [2, 42, 100])
def test_matrix_draws_every_pair_that_a_test_separates(count: int) -> None:
    board = synthetic_board(count)
    made = matrices(board)
    assert [part.metric for part in made] == list(METRICS)
    cell = {2: 15.0, 42: 12.0, 100: 10.0}[count]
    drawn = str(made[0].plot)
    for kind in ("wins", "loses"):
        paths = "".join(re.findall(rf'<path d="([^"]*)" class="{kind}"', drawn))
        wide = sum(float(width) for width in re.findall(r"h(\d[\d.]*)v", paths))
        expected = sum(map(sum, board.pairs["measured", TEST, METRICS[0]].beats))
        assert wide / cell == pytest.approx(expected)
    assert drawn.count("<title>") == count
    assert made[0].open == (count <= 20)
    assert len(drawn) < 900 * count


def test_matrix_names_rank_and_ranks_left_open(board: Board) -> None:
    drawn = str(matrices(board)[0].plot)
    assert ">4 [1 to 7]<" in drawn and ">Method 3  4<" in drawn
    assert "Method 3: better than 6 methods, worse than 1, open against 4" in drawn


def test_matrix_without_a_test_gives_the_reason(board: Board) -> None:
    table = PairTable(("key0", "key1"), reason="No p-value: 6 test subjects, and a test needs 8.")
    (part,) = matrices(replace(board, pairs={("measured", TEST, "pixel_ap"): table}))
    assert part.plot is None and part.reason == table.reason


def test_matrix_escapes_names() -> None:
    drawn = str(matrices(synthetic_board(3, title=HOSTILE))[0].plot)
    assert "<script" not in drawn and "&lt;script&gt;" in drawn


def test_robustness_is_the_mean_of_subsets_of_a_size(board: Board) -> None:
    curve = by_count(board, board.variants[0], TEST, "pixel_ap")
    assert {size: len(values) for size, values in curve.values.items()} == {1: 3, 2: 3, 3: 1}
    assert curve.means == pytest.approx({1: 0.9, 2: 0.9, 3: 0.89})


def test_robustness_has_no_mean_where_a_subset_is_missing(board: Board) -> None:
    lines = [
        replace(line, metrics={}) if (line.variant, line.subset) == ("key0", "T2") else line for line in board.lines
    ]
    curve = by_count(replace(board, lines=tuple(lines)), board.variants[0], TEST, "pixel_ap")
    assert len(curve.values[1]) == 2 and sorted(curve.means) == [2, 3]


def test_robustness_plots_have_one_dot_per_subset_and_the_control(board: Board) -> None:
    made = robustness(board)
    assert [part.metric for part in made] == list(METRICS)
    for part in made:
        assert part.control == "Brightness (control)" and part.backdrop.count('class="control"') == 1
        assert [label for label, _ in part.plots] == [f"Method {i}" for i in range(12)]
        name = re.findall(r'<symbol id="([^"]*)"', part.backdrop)
        for _, plot in part.plots:
            assert re.findall(r'<use href="#([^"]*)"', plot) == name
            dots = re.findall(r'<path d="([^"]*)" class="dots', plot)
            assert dots[0].count("M") == 7 and plot.count('class="curve') == 1
    assert len({re.findall(r'id="([^"]*)"', part.backdrop)[0] for part in made}) == len(made)


def test_names_of_a_picture_of_pairs_stay_apart() -> None:
    board = synthetic_board(3)
    first, second, *rest = board.variants
    long = "A method with a long name (encoder=efficientnet-lite{})"
    made = (replace(first, label=long.format(0)), replace(second, label=long.format(2)), *rest)
    (matrix,) = (one for one in matrices(replace(board, variants=made)) if one.metric == board.headline)
    assert matrix.plot is not None
    drawn = set(re.findall(r">([^<>]+)</text>", matrix.plot))
    assert {"A method w…tnet-lite0)", "A method w…tnet-lite2)"} <= {text.split("  ")[0] for text in drawn}
