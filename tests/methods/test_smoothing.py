"""Filters of maps against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deterministic_fixture import only_deterministic_on_a_gpu

from anyadbench.methods.smoothing import gaussian_filter, median_filter


def test_smoothing_is_scipys() -> None:
    from scipy import ndimage

    maps = torch.rand(2, 40, 24, dtype=torch.float64)
    expected = np.stack([ndimage.gaussian_filter(m, sigma=4) for m in maps.numpy()])
    np.testing.assert_allclose(gaussian_filter(maps, 4.0), expected, atol=1e-12)


def test_the_median_is_scipys() -> None:
    from scipy import ndimage

    maps = torch.rand(2, 12, 9)
    expected = np.stack([ndimage.median_filter(m, size=5, mode="mirror") for m in maps.numpy()])
    np.testing.assert_array_equal(median_filter(maps, 5), expected)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_median_is_torchs_and_runs_under_deterministic_on_a_gpu(size: int) -> None:
    maps = torch.rand(2, 12, 9).round(decimals=1)  # with ties
    windows = torch.nn.functional.pad(maps[:, None], (size // 2,) * 4, mode="reflect")[:, 0]
    windows = windows.unfold(1, size, 1).unfold(2, size, 1).flatten(3)
    with only_deterministic_on_a_gpu():
        found = median_filter(maps, size)
    assert torch.equal(found, windows.median(dim=-1).values)


def test_a_filter_that_does_nothing_returns_the_maps_themselves() -> None:
    maps = torch.rand(1, 4, 4)
    assert gaussian_filter(maps, 0.0) is maps
    assert median_filter(maps, 1) is maps
