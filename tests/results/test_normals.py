"""The scores of normals: their file, and what follows from their tails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.results.arrays import load_arrays, save_arrays
from anyadbench.results.normals import (
    LEVELS,
    TAIL,
    NormalScores,
    height_of,
    load_normals,
    normal_slice,
    normals_of,
    quantiles,
    save_normals,
    top_mean,
)


def example(seed: int = 0, slices: int = 12, scans: int = 3) -> NormalScores:
    random = np.random.default_rng(seed)
    rows = [
        normal_slice(i % scans, i / slices, random.gamma(2, 1, 3000 + 100 * i).astype(np.float32), float(i))
        for i in range(slices)
    ]
    normals = normals_of(rows, 5.0, [2.0 + i for i in range(scans)], list(range(scans)))
    return NormalScores({"F": normals, "F+T1": normals}, {"flair": quantiles(random.random(500))[None]}, "slice block")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    wanted = example()
    save_normals(tmp_path / "a.npz", wanted)
    save_normals(tmp_path / "b.npz", example())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = load_normals(tmp_path / "a.npz", "a.npz")
    assert (list(found.subsets), found.kind) == (["F", "F+T1"], "slice block")
    np.testing.assert_array_equal(found.intensities["flair"], wanted.intensities["flair"])
    own, before = found.subsets["F"], wanted.subsets["F"]
    assert (own.threshold, own.n_slices, own.n_subjects) == (5.0, 12, 3)
    for name, column in before.slices.items():
        np.testing.assert_array_equal(own.slices[name], column)
    np.testing.assert_array_equal(own.scan_scores, before.scan_scores)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tail_0", lambda tail: tail[:, ::-1]),
        ("tail_0", lambda tail: tail[:, :9]),
        ("scan_0", lambda scan: scan + 1),
        ("peak_0", lambda peak: peak * np.nan),
        ("score_0", lambda score: score[:3]),
        ("subject_0", lambda subject: subject[:1]),
        ("intensity_flair", lambda own: own[:, :3]),
        ("index", lambda index: np.array("{}")),
    ],
)
def test_a_damaged_file_is_one_sentence(name: str, value: object, tmp_path: Path) -> None:
    save_normals(tmp_path / "a.npz", example())
    arrays = load_arrays(tmp_path / "a.npz", "a.npz")
    save_arrays(tmp_path / "a.npz", arrays | {name: value(arrays[name])})  # type: ignore[operator]
    with pytest.raises(UserError, match=r"^a\.npz is damaged; copy it again, or make it again\.$"):
        load_normals(tmp_path / "a.npz", "a.npz")


@pytest.mark.parametrize("threshold", [0.0, 0.5, 2.0, 5.0, 7.0, 50.0])
def test_shares_above_a_threshold_follow_from_the_tails(threshold: float) -> None:
    random = np.random.default_rng(3)
    pixels = [random.gamma(2, 1 + i / 9, 8000 + 500 * i).astype(np.float32) for i in range(10)]
    rows = [normal_slice(i // 2, 0.5, own, 0.0) for i, own in enumerate(pixels)]
    normals = normals_of(rows, 5.0, [0.0] * 5, list(range(5)))
    exact = np.array([(own > threshold).mean() for own in pixels])
    np.testing.assert_allclose(normals.shares(threshold), exact, rtol=0.03, atol=2e-4)
    scans = [(np.concatenate(pixels[i : i + 2]) > threshold).mean() for i in range(0, 10, 2)]
    np.testing.assert_allclose(normals.scan_shares(threshold), scans, rtol=0.03, atol=2e-4)


def test_a_slice_keeps_its_peak_its_top_and_its_tail() -> None:
    pixels = np.random.default_rng(1).permutation(np.arange(1000, dtype=np.float32))
    found = normal_slice(0, 0.5, pixels, 3.0)
    assert (found.pixels, found.peak, found.brain_score, found.score) == (1000, 999, np.arange(990, 1000).mean(), 3.0)
    assert found.tail.shape == TAIL.shape and found.tail[0] == 0 and found.tail[-1] == 999
    assert (np.diff(found.tail) >= 0).all()


def test_the_top_of_few_or_no_scores_is_defined() -> None:
    assert top_mean(np.array([3.0, 7.0, 5.0])) == 7
    assert np.isnan(top_mean(np.array([])))
    assert len(quantiles(np.ones(1))) == len(LEVELS)


def test_heights_run_from_the_lowest_slice_to_the_highest() -> None:
    assert [height_of(k, 10, 30) for k in (10, 20, 30)] == [0, 0.5, 1]
    assert np.isnan(height_of(4, 4, 4))
