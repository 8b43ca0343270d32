"""Interpolation plane by plane gives the bits of one call of scipy, whatever the box and the threads."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

from anyadbench.data.interpolation import box_of, common, default_threads, grown, interpolate, reach
from anyadbench.data.trees.resampling import resample_array

FUSED = platform.machine() not in ("x86_64", "AMD64")
"""Whether a compiler may join a product and a sum, which rounds once where numpy rounds twice."""

SHAPES = [((9, 7, 5), (12, 8, 6)), ((5, 1, 8), (1, 6, 3)), ((16, 15, 14), (7, 20, 9)), ((1, 1, 1), (3, 3, 3))]


def plainly(array: np.ndarray, affine: np.ndarray, target: np.ndarray, shape: tuple, keep: bool) -> np.ndarray:
    """Return what one call of scipy over the whole target gives, without any box."""
    matrix = np.linalg.inv(affine) @ target

    def bring(values: np.ndarray) -> np.ndarray:
        options = {"output_shape": shape, "order": 1, "mode": "grid-constant", "cval": 0.0}
        return np.asarray(affine_transform(values, matrix[:3, :3], matrix[:3, 3], **options))

    ratio = np.abs(matrix[:3, :3]).max(axis=1)
    values = array.astype(np.float32)
    if ratio.max() > 1.01:
        values = gaussian_filter(values, np.maximum((ratio - 1) / 2, 0))
    out = bring(values)
    if keep:
        out[bring((array != 0).astype(np.float32)) < 0.5] = 0
    return np.asarray(out, dtype=np.float32)


def same(found: np.ndarray, want: np.ndarray) -> None:
    assert found.dtype == want.dtype == np.float32 and found.shape == want.shape
    if FUSED:
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(found.view(np.uint32), want.view(np.uint32))


def grids(shape: tuple, target: tuple, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of affines: axis-aligned, finer, coarser, turned, turned a lot, mirrored, and far apart."""
    chance = np.random.default_rng(seed)
    middle = (np.array(shape) - 1) / 2 - (np.array(target) - 1) / 2
    found = []
    plan = [((1, 1, 1), 0), ((0.5, 0.7, 0.3), 0), ((2.5, 1, 3), 0), ((1, 1, 1.02), 5), ((0.6, 2, 1.3), 70)]
    for steps, angle in plan:
        affine, other = np.diag([-1.3, -0.9, 2.0, 1]), np.eye(4)
        other[:3, :3] = Rotation.from_rotvec(np.radians(angle) * np.array([0.6, 0, 0.8])).as_matrix() * steps
        other[:3, 3] = middle + chance.uniform(-1, 1, 3)
        found.append((affine, affine @ other))
    found.append((np.diag([-1.0, -1, 1, 1]), np.diag([1.0, -1, -1, 1])))
    away = np.eye(4)
    away[:3, 3] = 1000
    found.append((np.eye(4), away))
    return found


def arrays(shape: tuple, seed: int) -> list[np.ndarray]:
    """Return noise, noise with background, noise that is mostly background, a mask, whole numbers, and nothing."""
    chance = np.random.default_rng(seed)
    noise = chance.normal(size=shape)
    little = np.zeros(shape)
    middle = tuple(slice(n // 3, n // 3 + max(1, n // 4)) for n in shape)
    little[middle] = noise[middle]
    whole = chance.integers(0, 300, shape).astype(np.int16)
    return [noise.astype(np.float32), np.where(noise > 0, noise, 0), little, noise > 0.5, whole, np.zeros(shape)]


@pytest.mark.parametrize(("shape", "target"), SHAPES)
@pytest.mark.parametrize("keep", [True, False])
def test_the_bits_are_those_of_one_call(shape: tuple, target: tuple, keep: bool) -> None:
    for affine, other in grids(shape, target, 1):
        for array in arrays(shape, 2):
            want = plainly(array, affine, other, target, keep)
            for threads in (1, 2, 3):
                same(resample_array(array, affine, other, target, keep_background=keep, threads=threads), want)


def test_values_that_are_no_numbers_stay_where_scipy_has_them() -> None:
    array = np.zeros((6, 6, 6), np.float32)
    array[2, 3, 3], array[4, 1, 2] = np.nan, np.inf
    for affine, other in grids((6, 6, 6), (8, 7, 6), 3):
        want = plainly(array, affine, other, (8, 7, 6), False)
        found = resample_array(array, affine, other, (8, 7, 6), keep_background=False)
        np.testing.assert_array_equal(found, want)


def test_only_what_is_wanted_is_computed() -> None:
    array = arrays((9, 7, 5), 4)[0]
    part = (slice(2, 9), slice(0, 4), slice(3, 5))
    for affine, other in grids((9, 7, 5), (12, 8, 6), 5):
        want, kept = plainly(array, affine, other, (12, 8, 6), True), np.zeros((12, 8, 6), np.float32)
        kept[part] = want[part]
        same(resample_array(array, affine, other, (12, 8, 6), within=part), kept)


def test_every_part_of_a_plane_has_the_bits_of_the_plane() -> None:
    array, matrix = arrays((9, 7, 5), 6)[0], np.linalg.inv(np.diag([1.1, 0.9, 0.7, 1.0]))
    matrix[:3, :3] += 0.05
    whole = interpolate(array, matrix, (10, 9, 8), (slice(0, 10), slice(0, 9), slice(0, 8)), 1)
    assert whole.any()
    for start in (0, 1, 4):
        part = (slice(1, 9), slice(start, 9), slice(start, 7))
        same(interpolate(array, matrix, (10, 9, 8), part, 2)[part], whole[part])


def test_boxes() -> None:
    array = np.zeros((6, 5, 4))
    assert box_of(array) is None
    array[2, 1, 3], array[4, 3, 3] = 1, -1
    box = box_of(array)
    assert box == (slice(2, 5), slice(1, 4), slice(3, 4))
    assert grown(box, (1, 2, 3), array.shape) == (slice(1, 6), slice(0, 5), slice(0, 4))
    assert common(box, (slice(0, 3), slice(2, 9), slice(0, 9))) == (slice(2, 3), slice(2, 4), slice(3, 4))
    assert common(box, (slice(5, 9), slice(0, 9), slice(0, 9))) is None
    far = np.eye(4)
    far[0, 3] = 50
    assert reach(box, far, (6, 5, 4)) is None
    assert 1 <= default_threads() <= 4
