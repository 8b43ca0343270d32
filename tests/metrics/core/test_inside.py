"""Pixel metrics within the brain, exact and streaming, against a plain reference on the brain's pixels alone."""

from __future__ import annotations

import metrics_reference as reference
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from anyadbench.errors import UserError
from anyadbench.metrics import PixelState, PixelStats, ScoreError
from anyadbench.metrics.core.inside import brain_pixels, brain_values


def slices(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = ndimage.binary_dilation(rng.random((6, 24, 24)) < 0.01, structure=np.ones((1, 3, 3)))
    maps = rng.standard_normal(masks.shape) + 1.5 * masks
    brains = np.zeros(masks.shape, dtype=bool)
    brains[:, 3:21, 4:20] = True
    brains[0] = False
    return np.round(maps, 2 - seed % 2).astype(np.float32), masks, brains


def plain_aupro(maps: np.ndarray, masks: np.ndarray, brains: np.ndarray, limit: float) -> float:
    """Return AUPRO over the brain's pixels, by trapezoids through every threshold."""
    lesions = [np.flatnonzero(region & brains) for region in reference.regions(masks & brains)]
    normal = maps[brains & ~masks]
    rates, covered = [0.0], [0.0]
    for threshold in np.unique(maps[brains])[::-1]:
        rates.append(float((normal >= threshold).mean()))
        covered.append(float(np.mean([(maps.ravel()[lesion] >= threshold).mean() for lesion in lesions])))
    last = np.interp(limit, rates, covered)
    kept = np.array(rates) < limit
    return float(np.trapezoid([*np.array(covered)[kept], last], [*np.array(rates)[kept], limit]) / limit)


@pytest.mark.parametrize("make", [PixelStats, PixelState])
@pytest.mark.parametrize("seed", range(6))
def test_metrics_of_the_brain_equal_those_of_its_pixels(seed: int, make: type[PixelStats] | type[PixelState]) -> None:
    maps, masks, brains = slices(seed)
    state = make()
    for part in (slice(0, 2), slice(2, 6)):
        state.update(*brain_pixels(maps[part], masks[part], brains[part]))
    values = brain_values(state.curve())
    assert values["brain_auroc"] == pytest.approx(roc_auc_score(masks[brains], maps[brains]), abs=1e-12)
    assert values["brain_ap"] == pytest.approx(average_precision_score(masks[brains], maps[brains]), abs=1e-12)
    assert values["brain_f1"] == pytest.approx(reference.f1_max(maps[brains], masks[brains]), abs=1e-12)
    for name, limit in (("brain_aupro_05", 0.05), ("brain_aupro_30", 0.3)):
        assert values[name] == pytest.approx(plain_aupro(maps, masks, brains, limit), abs=1e-9)


def test_scores_outside_the_brain_change_nothing() -> None:
    maps, masks, brains = slices(1)
    elsewhere = np.where(brains, maps, np.float32(np.nan))
    for ours, theirs in zip(brain_pixels(maps, masks, brains), brain_pixels(elsewhere, masks, brains), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_lesion_inside_the_brain_nothing_is_defined() -> None:
    maps, masks, brains = slices(0)
    state = PixelStats()
    state.update(*brain_pixels(maps, masks & ~brains, brains))
    assert all(np.isnan(value) for value in brain_values(state.curve()).values())


def test_bad_input_gives_one_sentence() -> None:
    maps, masks, brains = slices(0)
    with pytest.raises(UserError, match=r"Masks have shape \(5, 24, 24\); give the shape of the maps"):
        brain_pixels(maps, masks, brains[1:])
    maps[2, 10, 10] = np.inf
    with pytest.raises(ScoreError, match="slice 2"):
        brain_pixels(maps, masks, brains)


@pytest.mark.parametrize("make", [PixelStats, PixelState])
def test_slices_without_brain_add_nothing(make: type[PixelStats] | type[PixelState]) -> None:
    maps, masks, brains = slices(0)
    state, more = make(), make()
    state.update(*brain_pixels(maps, masks, brains))
    more.update(*brain_pixels(maps, masks, brains))
    more.update(*brain_pixels(maps, masks, np.zeros_like(brains)))
    assert brain_values(state.curve()) == brain_values(more.curve())
