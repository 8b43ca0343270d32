"""AUPIMO from the few scores kept while slices are scored equals AUPIMO of all maps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from anyadbench.metrics.core.aupimo import aupimo
from anyadbench.metrics.rows import low_rates
from anyadbench.metrics.rows.low_rates import LowRates
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.rows.split_counts import slice_pixels


def slices(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.standard_normal((20, 64, 64)), (0, 1, 1)).astype(np.float32)
    masks, brains = np.zeros(maps.shape, dtype=bool), np.zeros(maps.shape, dtype=bool)
    for number in range(20):
        brains[number, 4 : 40 + number, 8:56] = True
        masks[number, 20:30, 20:30] = number % 2 == 0
    maps += rng.uniform(0.5, 1.5, (20, 1, 1)).astype(np.float32) * masks
    return np.round(maps, 1) if seed % 2 else maps, masks, brains


@pytest.mark.parametrize("seed", range(4))
def test_the_values_of_a_row_are_those_of_all_its_maps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rates, "SPARE", 3)
    maps, masks, brains = slices(seed)
    brains[4] = masks[4] = False  # an abnormal slice without brain
    state = RowState("F", exact=True, slices=20)
    records = [{"subject": f"s{i // 5}", "label": int(i % 2 == 0)} for i in range(20)]
    for start in range(0, 20, 7):
        part = slice(start, start + 7)
        state.add(maps[part], slice_pixels(masks[part], brains[part]), records[part])
    state.finish()
    found = [record["aupimo"] for record in state.records]
    expected = aupimo(maps, masks, brains)
    assert found[4] is None and all(found[i] is None for i in range(1, 20, 2))
    kept = [i for i in range(0, 20, 2) if i != 4]
    np.testing.assert_array_equal([found[i] for i in kept], expected[kept].astype(np.float32))
    assert 0 < np.mean([found[i] for i in kept]) < 1


def test_few_scores_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rates, "SPARE", 100)
    rng, kept = np.random.default_rng(0), LowRates(50)
    brain = np.arange(10_000).reshape(1, 100, 100) < 5000
    (places,) = slice_pixels(np.zeros_like(brain), brain)
    for _ in range(50):
        kept.add(rng.random(10_000, dtype=np.float32), places, normal=True)
    assert kept._held <= 2 * (1e-4 * 50 * 10_000 + 1) + 100 + 5000


def test_without_normal_slices_there_is_no_value() -> None:
    kept = LowRates(1)
    (places,) = slice_pixels(np.ones((1, 3, 3), dtype=bool), np.ones((1, 3, 3), dtype=bool))
    kept.add(np.ones(9, dtype=np.float32), places, normal=False)
    assert kept.values() == [None]
