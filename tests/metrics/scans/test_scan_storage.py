"""Records of whole scans survive being stored, take little space, and are refused if they are impossible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lesions_reference as reference
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import score_scan
from anyadbench.metrics.lesions.compact import snap_alarms
from anyadbench.metrics.scans.scan_numbers import scan_numbers
from anyadbench.metrics.scans.scan_storage import from_arrays, to_arrays
from anyadbench.metrics.scans.whole_scans import RowScans
from anyadbench.results.arrays import load_arrays, save_arrays

GRID = (2.0, 1.0, 0.5)


def row_of(subset: str, threshold: float | None = 0.4, scans: int = 6, seed: int = 0) -> RowScans:
    records = []
    for number in range(scans):
        scores, truth, brain = reference.volume(number)
        noise = np.random.default_rng([seed, number]).random(truth.shape)
        records.append(score_scan(scores + noise, truth, brain, (1, 1, 1), threshold=threshold, grid=GRID))
    names = tuple(f"subject {number // 2}" for number in range(scans))
    return RowScans(
        "test", subset, "rule", threshold, GRID, names, tuple(f"scan {i}" for i in range(scans)),
        tuple(snap_alarms(records)),
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [0.4, None])
def test_every_number_survives_being_stored(threshold: float | None, tmp_path: Path) -> None:
    rows = [row_of("F", threshold), row_of("T1", threshold, seed=1), row_of("T2", threshold, scans=3)]
    save_arrays(tmp_path / "scans.npz", to_arrays(rows))
    read = from_arrays(load_arrays(tmp_path / "scans.npz", "scans.npz"))
    assert list(read) == [("test", "F"), ("test", "T1"), ("test", "T2")]
    for row in rows:
        again = read["test", row.subset]
        assert scan_numbers(again) == scan_numbers(row)
        assert (again.subjects, again.scans, again.threshold, again.grid) == (
            row.subjects, row.scans, row.threshold, row.grid,
        )  # fmt: skip


def test_a_scan_has_the_same_lesions_in_every_subset() -> None:
    rows = [row_of("F"), row_of("T1")]
    swapped = RowScans(**{**vars(rows[1]), "records": rows[1].records[::-1]})
    with pytest.raises(ValueError, match="scan 0 has other lesions in T1"):
        to_arrays([rows[0], swapped])


BROKEN: list[Callable[[dict[str, np.ndarray]], object]] = [
    lambda arrays: arrays.pop("grid"),
    lambda arrays: arrays.update(lesion_scores=arrays["lesion_scores"][1:]),
    lambda arrays: arrays.update(alarms=arrays["alarms"] + 1),
    lambda arrays: arrays.update(alarm_bins=arrays["alarm_bins"].astype(np.int64)),
    lambda arrays: arrays.update(truth=np.append(arrays["truth"], np.uint8(1))),
    lambda arrays: arrays.update(alarm_steps=arrays["alarm_steps"] + np.uint8(200)),
    lambda arrays: arrays["counts"].fill(2**30),
    lambda arrays: arrays.update(index=np.array("{}")),
    lambda arrays: arrays.update(index=np.array("[" * 200_000)),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_damaged_file_is_refused_in_one_sentence(number: int) -> None:
    arrays = {name: np.array(array) for name, array in to_arrays([row_of("F")]).items()}
    BROKEN[number](arrays)
    with pytest.raises(UserError, match=r"^(Records of whole scans are damaged|A scan's lesion record holds)"):
        from_arrays(arrays)


def test_another_version_is_refused() -> None:
    arrays = to_arrays([row_of("F")])
    arrays["index"] = np.array(str(arrays["index"]).replace('"format": 1', '"format": 9'))
    with pytest.raises(UserError, match="come from another version; run the cell again"):
        from_arrays(arrays)
