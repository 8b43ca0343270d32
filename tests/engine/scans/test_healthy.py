"""The score of a whole subject."""

from __future__ import annotations

import numpy as np
import pytest

from anyadbench.engine.scans.healthy import subject_score


def test_the_score_is_the_mean_of_the_hottest_millilitre_of_brain() -> None:
    scores = np.zeros((20, 20, 20), np.float32)
    scores[:5, :10, :10] = 1.0  # 500 voxels of 4 microlitres: 2 ml
    scores[0, 0, 0] = 100.0
    scores[-1] = 50.0  # outside the brain
    brain = np.ones(scores.shape, bool)
    brain[-1] = False
    assert subject_score(scores, brain, 0.004) == pytest.approx((249 + 100) / 250)
    assert subject_score(scores, brain, 2.0) == 100.0  # less than a voxel: the highest one


def test_a_brain_below_a_millilitre_counts_as_a_whole() -> None:
    scores = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert subject_score(scores, np.ones((2, 2, 2), bool), 0.001) == 3.5
