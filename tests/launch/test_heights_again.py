"""Slice scores normalised by height: what a forger of them can be shown from the cell alone, and from the data."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cell_fixture import change_json, reseal
from inprocess import run
from tiny import TINY_PROTOCOL

from anyadbench.boards.aggregate.recompute import read_statistics
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.findings import CellReport
from anyadbench.cells.scored_cell import write_slices
from anyadbench.launch.progress import Display
from anyadbench.launch.recheck import Recheck
from anyadbench.metrics.rows import height
from anyadbench.results.schema import Row

RULES = (
    "[split]\ntrain = 0.4\nvalidation = 0.1\ntest = 0.5\n\n[scoring]\nnormalise_height = true\nrank_height = true\n\n"
)


@pytest.fixture(scope="module")
def heighted(tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path) -> Iterator[Path]:
    """A finished cell with normalised scores; the tiny phantom has fewer training normals than a real one."""
    folder = tmp_path_factory.mktemp("heights")
    protocol = folder / "tiny.toml"
    protocol.write_text(TINY_PROTOCOL.replace("[[test]]", RULES + "[[test]]"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(height, "LEAST_SLICES", 5)
        yield run(protocol, {"phantom": tiny_phantom}, folder / "runs")[0].folder


@pytest.fixture
def cell(heighted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(heighted, tmp_path / heighted.name))


def derived(cell: Path, phantom: Path) -> CellReport:
    report = check_cell(cell)
    with Display(quiet=True) as display:
        Recheck((str(phantom),), display).derive(report)
    return report


def rescore(cell: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the slice table, and every number that follows from it."""
    records = [one for rows in read_statistics(cell).slices.values() for one in rows]
    for record in records:
        edit(record)
    write_slices(cell / "scores/slices.csv", [type("State", (), {"records": records})()])
    statistics = read_statistics(cell, "F+T1+T2")

    def refill(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            numbers, _ = statistics.row((row["test"], row["subset"]))
            row |= Row(**{**row, **numbers}).model_dump()

    change_json(cell / "result.json", refill)
    (cell / "scores/jackknife.npz").unlink(missing_ok=True)
    reseal(cell)


def test_an_unchanged_cell_has_no_problem(cell: Path, tiny_phantom: Path) -> None:
    records = [one for rows in read_statistics(cell).slices.values() for one in rows]
    assert {place[1] for place in read_statistics(cell).slices} >= {"F", "F+T1+T2", "as available"}
    assert all(record["image_score_height"] is not None for record in records)
    report = derived(cell, tiny_phantom)
    assert report.problems == [] and report.remarks == []


def test_a_score_that_no_height_gives_is_named_without_data(cell: Path) -> None:
    rescore(cell, lambda one: one.update(image_score_height=one["image_score_height"] + 1e4 * one["label"]))
    (*_, problem) = check_cell(cell).problems
    assert "the score normalised by height of slice" in problem
    assert "does not give at any height and brain area." in problem


def test_a_slightly_better_score_is_named_with_the_data(cell: Path, tiny_phantom: Path) -> None:
    rescore(cell, lambda one: one.update(image_score_height=one["image_score_height"] + 1e-6 * one["label"]))
    assert check_cell(cell).problems == []
    found = derived(cell, tiny_phantom).problems
    assert len(found) == 1 and "image_score_height of slice" in found[0] and "and the data give" in found[0]


def test_a_missing_score_is_named(cell: Path) -> None:
    first = read_statistics(cell).slices["phantom", "F"][0]
    gone = (first["scan"], first["slice"])
    rescore(
        cell,
        lambda one: (
            one.update(image_score_height=None)
            if one["subset"] == "F" and (one["scan"], one["slice"]) == gone
            else None
        ),
    )
    assert any("is missing, but manifest.json has a fit." in text for text in check_cell(cell).problems)


def test_a_removed_fit_is_named(cell: Path, tiny_phantom: Path) -> None:
    change_json(cell / "manifest.json", lambda data: data["heights"].pop("F"))
    reseal(cell)
    assert any(
        "phantom, F: the score normalised" in text and "has no fit" in text for text in check_cell(cell).problems
    )
    assert any("heights.F is not a fit of the" in text for text in derived(cell, tiny_phantom).problems)


def test_a_fit_of_other_normals_is_named(cell: Path, tiny_phantom: Path) -> None:
    change_json(cell / "manifest.json", lambda data: data["heights"]["F"].update(slices=77))
    reseal(cell)
    assert check_cell(cell).problems == []
    (problem,) = derived(cell, tiny_phantom).problems
    assert "heights.F is not a fit of the" in problem and problem.endswith("that can serve it.")


@pytest.mark.parametrize(("name", "value"), [("spread", 0.0), ("low", 2.0), ("coefficients", [1.0]), ("spread", "x")])
def test_a_damaged_fit_is_named(cell: Path, name: str, value: object) -> None:
    change_json(cell / "manifest.json", lambda data: data["heights"]["F"].update({name: value}))
    reseal(cell)
    assert any(
        "manifest.json: does not have the form that a run gives it" in text for text in check_cell(cell).problems
    )


def test_scores_that_the_protocol_does_not_ask_for_are_named(cell: Path) -> None:
    path = cell / "protocol.toml"
    path.write_text(path.read_text().replace("normalise_height = true\nrank_height = true", ""))
    assert any("which protocol.toml does not ask for" in text for text in check_cell(cell).problems)


def test_the_range_of_expected_scores_is_that_of_heights_and_areas() -> None:
    from anyadbench.boards.verify.heights import _expected

    fit = height.HeightFit((1.0, 4.0, -4.0, 0.1), 1.0, 30, 0.0, 1.0)  # 1 + 4 h - 4 h^2 + 0.1 area: a peak of 2 at .5
    assert _expected(fit, 50.0) == pytest.approx((1.0, 7.0))
    assert _expected(fit, math.inf) == (1.0, math.inf)
    falling = height.HeightFit((1.0, 2.0, 0.0, -0.1), 1.0, 30, 0.25, 0.5)
    assert _expected(falling, 10.0) == pytest.approx((0.5, 2.0))
