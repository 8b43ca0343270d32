"""The file with values of a row without each subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.intervals.jackknife import JACKKNIFED, Replicates, one_seed
from anyadbench.metrics.rows.replicates import RowReplicates, from_arrays, to_arrays
from anyadbench.results.arrays import load_arrays, save_arrays


def line(subjects: str, seed: int) -> Replicates:
    rng = np.random.default_rng(seed)
    count = len(JACKKNIFED)
    return one_seed(tuple(subjects), rng.uniform(0.2, 0.9, count), rng.uniform(0.2, 0.9, (len(subjects), count)))


def rows() -> dict[tuple[str, str], RowReplicates]:
    empty = line("", 5)
    return {
        ("t", "F"): RowReplicates(line("abcde", 1), line("bcd", 2)),
        ("t", "F+T1"): RowReplicates(line("bcd", 3), line("bcd", 3)),
        ("u", "F"): RowReplicates(line("xyz", 4), empty),
    }


def test_rows_read_back_as_they_were(tmp_path: Path) -> None:
    save_arrays(tmp_path / "x.npz", to_arrays(rows()))
    found = from_arrays(load_arrays(tmp_path / "x.npz", "x"))
    assert list(found) == list(rows())
    for place, row in rows().items():
        for ours, theirs in ((row.own, found[place].own), (row.common, found[place].common)):
            assert ours.subjects == theirs.subjects and ours.metrics == theirs.metrics
            np.testing.assert_array_equal(ours.point, theirs.point)
            np.testing.assert_array_equal(ours.jack, theirs.jack)


def test_seeds_are_put_together_on_both_sets_of_subjects() -> None:
    row = rows()["t", "F"]
    both = RowReplicates.over_seeds([row, row])
    assert both.own.seeds == both.common.seeds == 2
    with pytest.raises(UserError, match="scored on different subjects"):
        RowReplicates.over_seeds([row, rows()["u", "F"]])


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("own_jack", lambda a: a[1:], "damaged or incomplete"),
        ("own_jack", lambda a: a + 1, "damaged or incomplete"),
        ("common_point", lambda a: a.astype(np.float32), "damaged or incomplete"),
        ("index", lambda a: np.array("[]"), "damaged or incomplete"),
        ("index", lambda a: np.array("[" * 200_000), "damaged or incomplete"),
        ("index", lambda a: np.array(str(a).replace('"format": 1', '"format": 7')), "come from another version"),
    ],
)
def test_impossible_files_are_refused(name: str, change: object, sentence: str) -> None:
    arrays = to_arrays(rows())
    arrays[name] = change(arrays[name])  # type: ignore[operator]
    with pytest.raises(UserError, match=sentence):
        from_arrays(arrays)


def test_a_missing_array_is_refused() -> None:
    arrays = to_arrays(rows())
    del arrays["common_jack"]
    with pytest.raises(UserError, match="damaged or incomplete"):
        from_arrays(arrays)
