"""Several maps are looked up at once as scipy looks up each of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anyadbench.data.phantom.anatomy import _brain
from anyadbench.data.phantom.sampling import interpolated


def test_each_map_is_interpolated_as_scipy_does_it() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((9, 7, 11, 3), dtype=np.float32)
    points = (rng.random((3, 500)) * np.array([[8], [6], [10]])).astype(np.float32)
    found = interpolated(maps, points)
    for place in range(3):
        wanted = ndimage.map_coordinates(maps[..., place], points, order=1, mode="nearest")
        assert np.abs(found[place] - wanted).max() < 1e-5


def test_points_outside_take_the_value_of_the_border() -> None:
    maps = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1) * np.ones((4, 3, 3, 1), np.float32)
    points = np.array([[-5, 0, 2, 3, 9], [0, 0, 1, 9, -9], [0, 1, 1, 2, 2]], np.float32)
    assert np.allclose(interpolated(maps, points)[0], [0, 0, 2, 3, 3], atol=2e-3)


def test_a_brain_is_its_largest_component_without_holes() -> None:
    mask = np.zeros((12, 12, 12), dtype=bool)
    mask[2:9, 2:9, 2:9] = True
    mask[4:6, 4:6, 4:6] = False
    mask[11, 11, 11] = True
    wanted = ndimage.binary_fill_holes(mask)
    wanted[11, 11, 11] = False
    assert np.array_equal(_brain(mask), wanted)
