"""Slice scores that follow height and brain area are corrected by what training normals show."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from anyadbench.metrics import image_metrics
from anyadbench.metrics.rows.height import LEAST_SLICES, fit_height


def slices(count: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return slice scores that fall with height and rise with area, heights and areas in cm^2."""
    rng = np.random.default_rng(seed)
    heights = rng.random(count)
    areas = 150 * np.sin(np.pi * (0.1 + 0.8 * heights)) * rng.uniform(0.9, 1.1, count)
    return -2 * heights + heights**2 + 0.01 * areas + noise * rng.normal(size=count), heights, areas


def test_the_fit_is_that_of_plain_least_squares() -> None:
    scores, heights, areas = slices(60, 0)
    found = fit_height(scores, heights, areas)
    assert found is not None and found.slices == 60
    columns = np.stack([heights, heights**2, areas], axis=1)
    plain = LinearRegression().fit(columns, scores)
    residuals = scores - plain.predict(columns)
    np.testing.assert_allclose(found.coefficients, [plain.intercept_, *plain.coef_], rtol=1e-6)
    np.testing.assert_allclose(found.normalised(scores, heights, areas), residuals / residuals.std(), atol=1e-9)


def test_what_height_hides_is_seen_again() -> None:
    found = fit_height(*slices(80, 1))
    scores, heights, areas = slices(200, 2)
    labels = np.arange(200) % 2 == 1
    scores = scores + 0.3 * labels
    assert found is not None
    before = image_metrics(scores, labels)["image_auroc"]
    after = image_metrics(found.normalised(scores, heights, areas), labels)["image_auroc"]
    assert after > 0.95 > 0.8 > before


def test_heights_beyond_those_of_training_are_taken_as_the_nearest() -> None:
    scores, heights, areas = slices(50, 3)
    found = fit_height(scores, 0.2 + 0.5 * heights, areas)
    assert found is not None
    one = np.ones(1)
    ends = [found.normalised(one, height * one, 100 * one)[0] for height in (0.0, found.low, found.high, 1.0)]
    assert ends[0] == ends[1] != ends[2] == ends[3]


def test_too_few_slices_constant_scores_and_one_height_for_all() -> None:
    scores, heights, areas = slices(LEAST_SLICES - 1, 4)
    assert fit_height(scores, heights, areas) is None
    scores, heights, areas = slices(LEAST_SLICES, 4)
    constant = fit_height(np.full(LEAST_SLICES, 7.0), heights, areas)
    assert constant is not None and constant.spread == 1.0
    assert constant.normalised(np.array([7.0, 8.0]), heights[:2], areas[:2]) == pytest.approx([0, 1], abs=1e-9)
    flat = fit_height(scores, np.full(LEAST_SLICES, 0.5), np.full(LEAST_SLICES, 90.0))
    assert flat is not None
    np.testing.assert_allclose(
        flat.normalised(scores, heights, areas), (scores - scores.mean()) / scores.std(), atol=1e-6
    )
