"""The slice table as arrays gives back the same numbers; damage is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.results.arrays import load_arrays, save_arrays
from anyadbench.results.cellfiles import SLICE_COLUMNS, read_slice_table
from anyadbench.results.slice_arrays import COLUMNS, load_slices, save_slices


def table(scores: str = "f8") -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return two test sets of 30 slices, of which a subset lacks some."""
    rng = np.random.default_rng(0)
    facts = [
        {"subject": f"p{i // 10}", "scan": f"p{i // 10}_1", "slice": i % 10, "height_mm": 2.5 * (i % 10),
         "label": i % 2, "lesion_px": 40 * (i % 2), "brain": float(rng.random())}
        for i in range(30)
    ]  # fmt: skip
    rows = {}
    for test in ("a", "b"):
        for subset, kept in (("F", facts), ("F+T1", facts[10:])):
            values = rng.normal(size=len(kept)).astype(scores)
            named = {"test": test, "subset": subset}
            records = [one | named | {"image_score": float(v)} for one, v in zip(kept, values, strict=True)]
            rows[test, subset] = [{name: record[name] for name in SLICE_COLUMNS} for record in records]
    return rows


@pytest.mark.parametrize("scores", ["f8", "f4"])
def test_the_table_reads_back_exactly(scores: str, tmp_path: Path) -> None:
    path = tmp_path / "cell/scores/slices.npz"
    path.parent.mkdir(parents=True)
    save_slices(path, table(scores))
    assert load_slices(path, "x") == table(scores) == read_slice_table(tmp_path / "cell")
    assert load_arrays(path, "x")["image_score"].dtype == scores
    assert tuple(SLICE_COLUMNS) == COLUMNS
    save_slices(path, {})
    assert load_slices(path, "x") == {}


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("scan", lambda values: values + 9),
        ("place", lambda values: values[1:]),
        ("label", lambda values: values + 2),
        ("brain", lambda values: values * np.nan),
        ("image_score", lambda values: values * np.inf),
        ("height_mm", lambda values: values[None]),
        ("index", lambda values: np.array("{}")),
    ],
)
def test_damage_is_one_sentence(name: str, edit: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save_slices(path, table())
    arrays = load_arrays(path, "x")
    with np.errstate(invalid="ignore"):
        save_arrays(path, arrays | {name: edit(arrays[name])})
    with pytest.raises(UserError, match=r"x is damaged; publish the cell again\."):
        load_slices(path, "x")
