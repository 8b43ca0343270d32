"""The rows and the short curves of a training's losses."""

from __future__ import annotations

import csv
import io
import math
import random

import pytest

from anyadbench.results import CellResult, TrainingCurve
from anyadbench.results.training import (
    FEWEST_POINTS,
    MOST_POINTS,
    MOST_ROWS,
    SUM,
    Step,
    csv_text,
    curves,
    described,
    rows_apart,
    sparkline,
    thinned,
)


def steps(total: int, names: tuple[str, ...] = ("loss",)) -> list[Step]:
    return [Step(n, n / 5, n / 10, {"main": 0.1}, {name: float(n) for name in names}) for n in range(1, total + 1)]


@pytest.mark.parametrize(("total", "apart"), [(0, 1), (1, 1), (2000, 1), (2001, 2), (4000, 2), (4001, 3), (10**6, 500)])
def test_a_training_has_at_most_2000_rows(total: int, apart: int) -> None:
    assert rows_apart(total) == apart
    assert -(-total // apart) <= MOST_ROWS


def test_each_row_is_the_mean_since_the_row_before_and_the_last_step_has_one() -> None:
    rows = thinned(steps(4001), 4001)
    assert [row.step for row in rows] == [*range(3, 4000, 3), 4001]
    assert [row.losses["loss"] for row in rows[:2]] == [2.0, 5.0]
    assert rows[-1].losses["loss"] == 4000.5


def test_thinning_in_any_pieces_gives_the_same_rows() -> None:
    plain, draw = steps(7003), random.Random(1)
    rows: list[Step] = []
    at = 0
    while at < len(plain):
        piece = draw.randrange(1, 30)
        rows = thinned([*rows, *plain[at : at + piece]], len(plain))
        at += piece
    assert rows == thinned(plain, len(plain))


def test_a_loss_that_begins_late_gets_a_column() -> None:
    rows = [Step(1, 0.2, 0.5, {"main": 0.1}, {"a": 1.0}), Step(2, 0.4, 1.0, {"main": 0.1}, {"a": 2.0, "b": math.nan})]
    table = list(csv.reader(io.StringIO(csv_text(rows))))
    assert table == [
        ["step", "epoch", "seconds", "lr.main", "loss.a", "loss.b"],
        ["1", "0.2000", "0.500", "0.1", "1", ""],
        ["2", "0.4000", "1.000", "0.1", "2", "nan"],
    ]


@pytest.mark.parametrize(
    ("fits", "names", "total"),
    [(1, 1, 2000), (1, 3, 2000), (15, 1, 2000), (15, 6, 2000), (1, 60, 2000), (1, 1, 3), (7, 2, 5)],
)
def test_the_curves_of_a_result_take_about_4_kb(fits: int, names: int, total: int) -> None:
    rows = [{"step": n + 1, "losses": {f"loss{k}": math.pi / (n + k + 1) for k in range(names)}} for n in range(total)]
    found = curves({f"set{i}": rows for i in range(fits)})
    assert len(found) == fits
    sizes = [len(json_of(curve)) for curve in found]
    assert sum(sizes) < 4096 + 150 * fits  # the labels
    assert all(2 <= len(curve.steps) <= MOST_POINTS and curve.steps[-1] == total for curve in found)
    assert all(len(values) == len(curve.steps) for curve in found for values in curve.losses.values())
    assert all(len(curve.steps) >= min(FEWEST_POINTS, total) for curve in found)


def json_of(curve: TrainingCurve) -> str:
    return curve.model_dump_json(indent=1)


def test_where_many_losses_do_not_fit_their_sum_is_kept() -> None:
    rows = [{"step": n + 1, "losses": {f"loss{k}": 1.0 for k in range(100)}} for n in range(50)]
    (curve,) = curves({"": rows})
    assert set(curve.losses) == {SUM} and set(curve.losses[SUM]) == {100.0}


def test_a_point_that_is_not_finite_is_none_and_a_method_without_steps_has_no_curve() -> None:
    (curve,) = curves({"": [{"step": 1, "losses": {"a": None}}, {"step": 2, "losses": {"a": 0.123456}}]})
    assert curve.losses["a"] == [None, 0.1235]
    assert curves({"": []}) == []
    assert CellResult.model_fields["training"].default == []


def test_losses_are_drawn_as_bars_from_low_to_high() -> None:
    assert sparkline([3.0, None, 2.0, 1.0]) == "█ ▅▁"
    assert sparkline([1.0, 1.0]) == "▁▁" and sparkline([]) == "" and sparkline([None]) == " "
    assert len(sparkline([float(i) for i in range(60)])) == 30
    curve = TrainingCurve(subset="F+T1", steps=[1, 2], losses={"a": [2.0, 1.0], "b": [None, None]})
    assert described([curve]) == ["a of F+T1 █▁ 2 to 1"]
