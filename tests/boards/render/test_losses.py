"""The losses of each method's training on the board's page."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from boards_fixture import FakeMethod, write_cell

from anyadbench.boards import load_boards
from anyadbench.boards.render.html import board_html
from anyadbench.boards.render.losses import MOST_LINES, training_plot
from anyadbench.boards.render.svg import line_plot

HOSTILE = "<script>alert(1)</script>"
STEPS = list(range(10, 610, 10))


def curve(subset: str = "", **losses: Any) -> dict[str, Any]:
    return {"subset": subset, "steps": STEPS, "losses": losses}


def falling(scale: float = 1.0) -> list[float]:
    return [scale * math.exp(-step / 80) + 0.002 for step in STEPS]


def write(tmp_path: Path, training: list[dict[str, Any]], seed: int = 0) -> None:
    method = FakeMethod("anyad", "AnyAD", maps=False, changes={"training": training, "schema_version": 4})
    write_cell(tmp_path / "cells", method, seed)


def test_a_page_draws_the_losses_of_each_method(tmp_path: Path) -> None:
    write(tmp_path, [curve(cosine=falling(), kl=falling(0.1), **{HOSTILE: falling(0.5)})])
    write_cell(tmp_path / "cells", FakeMethod("dae", "DAE", maps=False), 0)
    page = board_html(load_boards(tmp_path)[0])
    assert page.count("Losses of the training, seed 0") == 1
    drawn = re.search(r'<svg [^>]*aria-label="Losses of AnyAD[^>]*>.*?</svg>', page, re.DOTALL)
    assert drawn is not None and drawn[0].count("<polyline") == 3
    assert drawn[0].count(",") > 3 * len(STEPS) and "nan" not in drawn[0]
    assert HOSTILE not in page


def test_a_model_per_subset_has_a_line_per_subset_and_some_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, [curve(f"set{i}", loss=falling()) for i in range(MOST_LINES + 2)], seed=3)
    write(tmp_path, [], seed=1)
    (variant,) = load_boards(tmp_path)[0].variants
    found = training_plot(variant)
    assert found is not None
    assert (found["seed"], found["left_out"], found["legend"][1][0]) == (3, 2, "loss, set1")
    assert "2 more not drawn" in board_html(load_boards(tmp_path)[0])


@pytest.mark.parametrize(
    "values",
    [[0.0] * 60, [1e30] * 60, [-1e-30] * 60, [None] * 59 + [2.0], [1.0], [], [10.0 ** (i - 30) for i in range(60)]],
)
def test_any_numbers_can_be_drawn(tmp_path: Path, values: list[float | None]) -> None:
    write(tmp_path, [curve(loss=values)])
    (variant,) = load_boards(tmp_path)[0].variants
    found = training_plot(variant)
    assert (found is None) == (not values)
    assert found is None or not re.search(r"nan|inf", str(found["plot"]))


def test_a_wide_span_has_a_logarithmic_axis() -> None:
    wide, narrow = (line_plot([(0, 0, "loss", points)], "t", ("step", "loss")) for points in (
        [(1.0, 100.0), (50.0, 0.01)], [(1.0, 3.0), (50.0, 1.0)],
    ))  # fmt: skip
    assert ">0.1<" in wide and ">10<" in wide and ">10<" not in narrow
