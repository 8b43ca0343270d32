"""AUPIMO against its definition and against anomalib."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from anyadbench.errors import UserError
from anyadbench.metrics import ScoreError
from anyadbench.metrics.lesions import aupimo


def slices(seed: int, count: int = 12, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return maps and masks, every second slice with a lesion that is brighter by a varying amount."""
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.standard_normal((count, size, size)), (0, 1, 1)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for number in range(0, count, 2):
        row, column = rng.integers(0, size - 8, 2)
        masks[number, row : row + 8, column : column + 8] = rng.random((8, 8)) < 0.9
        maps[number][masks[number]] += rng.uniform(0, 1.5)
    return maps, masks


def plain(maps: np.ndarray, masks: np.ndarray, low: float, high: float, inside: np.ndarray) -> list[float]:
    """Return the mean coverage by going through all scores of normal slices, as points joined by straight lines."""
    normal = [number for number, mask in enumerate(masks) if not mask.any()]
    values = []
    for number, mask in enumerate(masks):
        if not (mask & inside[number]).any():
            values.append(float("nan"))
            continue
        lesion = maps[number][mask & inside[number]]
        points: list[tuple[float, float]] = []
        for threshold in np.unique(np.concatenate([maps[n][inside[n]] for n in normal]))[::-1]:
            rate = float(np.mean([(maps[n][inside[n]] >= threshold).mean() for n in normal]))
            before = points[-1][0] if points else math.log(low)
            points.append((before, float((lesion > threshold).mean())))
            if len(points) == 1:
                points.append((max(math.log(rate), before), points[0][1]))
            points.append((math.log(rate), float((lesion >= threshold).mean())))
        area = 0.0
        for (x, y), (to_x, to_y) in pairwise(points):
            if to_x > x:
                left, right = (min(max(place, math.log(low)), math.log(high)) for place in (x, to_x))
                height = [y + (to_y - y) * (place - x) / (to_x - x) for place in (left, right)]
                area += (right - left) * sum(height) / 2
        values.append(area / (math.log(high) - math.log(low)))
    return values


@pytest.mark.parametrize("bounds", [(1e-3, 1e-2), (1e-5, 1e-4), (1e-5, 0.5), (0.01, 1.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_aupimo_equals_its_definition(seed: int, bounds: tuple[float, float]) -> None:
    maps, masks = slices(seed, 6, 20)
    if seed == 2:
        maps = np.round(maps, 1)
    inside = np.ones(masks.shape, dtype=bool)
    np.testing.assert_allclose(aupimo(maps, masks, bounds=bounds), plain(maps, masks, *bounds, inside), atol=1e-12)
    inside[:, :6] = False
    inside[1, :, 10:] = False
    np.testing.assert_allclose(
        aupimo(maps, masks, inside, bounds=bounds), plain(maps, masks, *bounds, inside), atol=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_aupimo_equals_that_of_anomalib_between_the_rates_that_its_thresholds_reach(seed: int) -> None:
    functional = pytest.importorskip("anomalib.metrics.pimo.functional")
    import torch

    maps, masks = slices(seed, 24, 96)
    low, high = 1e-3, 1e-1
    thresholds, rates, _, _, scores, _ = functional.aupimo_scores(
        torch.from_numpy(maps), torch.from_numpy(masks), 100_000, (low, high)
    )
    reached = [float(functional.thresh_at_shared_fpr_level(thresholds, rates, rate)[2]) for rate in (low, high)]
    ours = aupimo(maps, masks, bounds=(reached[0], reached[1]))
    # anomalib divides by the range that was asked for, also where its thresholds reach a smaller one.
    theirs = scores.numpy() * math.log(high / low) / math.log(reached[1] / reached[0])
    np.testing.assert_array_equal(np.isnan(ours), ~masks.any(axis=(1, 2)))
    np.testing.assert_allclose(ours[::2], theirs[::2], atol=3e-5)
    np.testing.assert_allclose(aupimo(maps, masks, bounds=(low, high))[::2], scores.numpy()[::2], atol=2e-3)


def test_aupimo_is_one_above_all_normals_and_zero_below() -> None:
    maps, masks = slices(0)
    assert aupimo(np.where(masks, 100, maps), masks)[::2] == pytest.approx(1.0, abs=1e-12)
    assert aupimo(np.where(masks, -100, maps), masks)[::2] == pytest.approx(0.0, abs=1e-12)


def test_an_increasing_change_of_the_scores_changes_nothing() -> None:
    maps, masks = slices(3)
    np.testing.assert_array_equal(aupimo(maps, masks, bounds=(1e-3, 1e-2)), aupimo(maps**3, masks, bounds=(1e-3, 1e-2)))


def test_scores_outside_the_brain_change_nothing_and_a_lesion_there_makes_no_normal_slice() -> None:
    maps, masks = slices(4)
    brains = np.zeros(masks.shape, dtype=bool)
    brains[:, 5:35, 5:35] = True
    elsewhere = np.where(brains, maps, np.float32(50))
    np.testing.assert_array_equal(aupimo(maps, masks, brains), aupimo(elsewhere, masks, brains))
    hidden = masks.copy()
    hidden[1, 0, 0] = True
    kept = np.arange(len(maps)) != 1
    values = aupimo(maps, hidden, brains)
    assert np.isnan(values[1])
    np.testing.assert_array_equal(values[kept], aupimo(maps[kept], masks[kept], brains[kept]))


def test_without_normal_slices_nothing_is_defined() -> None:
    maps, masks = slices(0)
    assert np.isnan(aupimo(maps[::2], masks[::2])).all()


def test_bad_input_gives_one_sentence() -> None:
    maps, masks = slices(0)
    with pytest.raises(UserError, match="false-positive rates 0.1 and 0.01 are no bounds; give two ascending ones"):
        aupimo(maps, masks, bounds=(0.1, 0.01))
    with pytest.raises(UserError, match=r"Masks have shape \(3, 40, 40\); give the shape of the maps"):
        aupimo(maps, masks[:3])
    maps[3, 0, 0] = np.nan
    with pytest.raises(ScoreError, match="slice 3"):
        aupimo(maps, masks)
