"""How a site's normals differ from a cell's."""

from __future__ import annotations

import numpy as np
import pytest

from anyadbench.predict.findings.drift import distance, drift, warnings
from anyadbench.results.normals import NormalScores, normal_slice, normals_of, quantiles


def normals(seed: int, shift: float = 0.0, brightness: float = 0.0, scans: int = 4) -> NormalScores:
    random = np.random.default_rng(seed)
    rows = [
        normal_slice(i % scans, i / 40, (random.normal(5, 1, 2000) + shift + random.normal()).astype(np.float32), 0.0)
        for i in range(40)
    ]
    intensities = {"flair": np.stack([quantiles(random.normal(0.5 + brightness, 0.1, 4000)) for _ in range(scans)])}
    return NormalScores({"F": normals_of(rows, 8.5, [0.0] * scans, list(range(scans)))}, intensities)


def test_equal_normals_give_no_warning() -> None:
    found = drift(normals(1), normals(2))
    assert warnings(found, "validation subjects") == []
    assert found["intensities"]["flair"]["ks"] < 0.05 and found["intensities"]["flair"]["ks_within"] < 0.05
    assert abs(found["scores"]["F"]["effect"]) < 0.5 and found["scores"]["F"]["share"] < 0.02


def test_brighter_scans_and_higher_scores_are_found_and_named() -> None:
    found = drift(normals(1, shift=2.0, brightness=0.1), normals(2))
    # Two normal distributions one standard deviation apart: Phi(.5) - Phi(-.5).
    assert found["intensities"]["flair"]["ks"] == pytest.approx(0.383, abs=0.02)
    assert found["scores"]["F"]["effect"] == pytest.approx(2.0, abs=0.4)
    first, second, third = warnings(found, "validation subjects")
    assert first.startswith("Brain intensities of F differ from those of the cell's validation subjects (Kolmogorov-S")
    assert second.startswith("Slices shown F score higher than those of the cell's validation subjects, by ")
    assert third.endswith("which 1 % should exceed (3% or more is a warning).")
    lower = warnings(drift(normals(1, shift=-2.0), normals(2)), "slice block")
    assert any("Slices shown F score lower than those of the cell's slice block" in line for line in lower)


def test_a_distance_is_the_largest_difference_of_shares() -> None:
    low, high = quantiles(np.linspace(0, 1, 1001))[None], quantiles(np.linspace(0.25, 1.25, 1001))[None]
    assert distance(low, high) == pytest.approx(0.25, abs=0.01)
    assert distance(low, low) == 0
    assert distance(np.concatenate([low, high]), low) == pytest.approx(0.125, abs=0.01)


def test_without_the_cells_normals_nothing_is_compared() -> None:
    found = drift(normals(1), None)
    assert found == {"intensities": {}, "scores": {}} and warnings(found, "") == []
    single = drift(normals(1), normals(2, scans=1))
    assert single["intensities"]["flair"]["ks_within"] is None
