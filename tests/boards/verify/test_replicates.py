"""The values that intervals, p-values and ranks start from cannot be moved: of a row, and without each subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cell_fixture import change_json, reseal

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.recompute import read_replicates
from anyadbench.boards.verify.cell import check_cell
from anyadbench.errors import UserError
from anyadbench.results.arrays import load_arrays, save_arrays
from anyadbench.results.read import read_cells

Edit = Callable[[np.ndarray], np.ndarray]


def change(cell: Path, edits: dict[str, Edit]) -> None:
    """Change arrays of the values without a subject, and redo the hashes."""
    path = cell / "scores/jackknife.npz"
    arrays = load_arrays(path, path.name)
    save_arrays(path, arrays | {name: edit(arrays[name]) for name, edit in edits.items()})
    reseal(cell)


def higher(values: np.ndarray) -> np.ndarray:
    return np.clip(values + 0.35, 0.0, 1.0)


def unknown(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[0, 0] = np.nan
    return changed


def closer(values: np.ndarray) -> np.ndarray:
    """Shrink the spread of the values, and so every interval."""
    return np.asarray(values.mean(axis=0) + 0.5 * (values - values.mean(axis=0)))


FORGERIES: list[tuple[dict[str, Edit], str]] = [
    ({"own_point": higher}, "here, but result.json gives"),
    ({"own_point": unknown}, "is nan, but the statistics give"),
    ({"common_point": higher}, "on the subjects with every sequence is"),
    ({"common_point": unknown}, "on the subjects with every sequence is nan, but the statistics give"),
    ({"own_jack": closer}, "the values without a subject differ from the statistics'."),
    ({"common_jack": closer}, "the values without a subject on the subjects with every sequence differ"),
    ({"common_point": higher, "common_jack": higher}, "on the subjects with every sequence is"),
]


@pytest.mark.parametrize(("number", "form"), [(number, number % 2) for number in range(len(FORGERIES))])
def test_a_moved_value_is_named(number: int, form: int, request: pytest.FixtureRequest) -> None:
    place: Path = request.getfixturevalue(("runs", "published")[form])
    cell = place if form else next((place / "cells").iterdir())
    edits, named = FORGERIES[number]
    change(cell, edits)
    problems = check_cell(cell).problems
    assert problems and all("scores/jackknife.npz: phantom, " in text for text in problems), problems
    assert any(named in text for text in problems), problems


def test_a_board_takes_no_interval_from_values_that_are_not_the_results(published: Path) -> None:
    runs = published.parents[1]
    (record,) = read_cells(runs)
    assert record.result is not None and read_replicates(published, record.result)
    change(published, {"own_point": higher})
    with pytest.raises(UserError, match=r"jackknife\.npz: phantom, F: .* result\.json gives .*; run the cell"):
        read_replicates(published, record.result)
    (board,) = load_boards(runs)
    assert any(text.startswith("No intervals: ") and "result.json gives" in text for text in board.notices)


def test_a_value_that_the_result_calls_undefined_is_none(published: Path) -> None:
    change_json(published / "result.json", lambda data: data["rows"][0]["metrics"].update(pixel_ap=None))
    reseal(published)
    assert any("but result.json gives nothing" in text for text in check_cell(published).problems)


def test_an_index_that_nests_too_deeply_is_damage(runs: Path) -> None:
    (cell,) = (runs / "cells").iterdir()
    change(cell, {"index": lambda values: np.array("[" * 200_000)})
    (problem,) = check_cell(cell).problems
    assert problem.endswith("jackknife.npz: Values without a subject are damaged or incomplete; run the cell again.")
