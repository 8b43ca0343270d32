"""Connected components and the integer view of scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from anyadbench.errors import UserError
from anyadbench.metrics import component_areas, components
from anyadbench.metrics.core.components import component_ids, lesion_pixels, lesions_by_slice
from anyadbench.metrics.core.ordered_bits import float32_keys, key_values, threshold_key


def masks(density: float) -> np.ndarray:
    return np.random.default_rng(0).random((12, 20, 17)) < density


@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_components_are_those_of_scipy_with_eight_neighbours(density: float) -> None:
    stack = masks(density)
    labels, total = components(stack), 0
    for mask, found in zip(stack, labels, strict=True):
        expected, count = ndimage.label(mask, structure=np.ones((3, 3)))
        assert np.array_equal(found, np.where(mask, expected + total, 0))
        total += count
    assert labels.dtype == np.int32
    assert len(component_areas(labels)) == total
    assert component_areas(labels).sum() == stack.sum()


def test_one_mask_is_labelled_from_one() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = True
    assert components(mask).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]
    assert components(torch.from_numpy(mask)).tolist() == components(mask).tolist()


def test_lesion_pixels_know_the_area_of_their_component() -> None:
    stack = masks(0.3)
    found, labels = lesion_pixels(stack), components(stack)
    assert found.index.tolist() == np.flatnonzero(stack).tolist()
    assert found.areas.tolist() == component_areas(labels)[labels[stack] - 1].tolist()
    assert found.count == labels.max()


@pytest.mark.parametrize("shape", [(12, 20, 17), (5, 1, 30), (5, 30, 1), (40, 2, 2), (0, 4, 4)])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.4, 0.9, 1.0])
def test_runs_are_connected_as_pixels_are(shape: tuple[int, int, int], density: float) -> None:
    stack = np.random.default_rng(1).random(shape) < density
    index = np.flatnonzero(stack)
    expected = components(stack)[stack] - 1
    assert component_ids(index, shape[1:]).tolist() == expected.tolist()
    by_slice = lesions_by_slice(index, shape)
    assert len(by_slice) == len(stack)
    for mask, found in zip(stack, by_slice, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        assert found.count == count
        assert found.index.tolist() == np.flatnonzero(mask).tolist()
        assert found.areas.tolist() == np.bincount(labels.ravel())[labels[mask]].tolist()


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next_nor_a_slice_the_next() -> None:
    stack = np.zeros((2, 4, 5), dtype=bool)
    stack[0, 0, 4] = stack[0, 1, 0] = stack[0, 3, :] = stack[1, 0, :] = True
    assert component_ids(np.flatnonzero(stack), (4, 5)).tolist() == [0, 1, *[2] * 5, *[3] * 5]


def test_labels_that_restart_in_each_slice_are_made_distinct() -> None:
    stack = masks(0.05)
    anew = np.stack([components(mask) for mask in stack])
    found, expected = lesion_pixels(stack, anew), lesion_pixels(stack)
    assert found.count == expected.count
    assert found.areas.tolist() == expected.areas.tolist()


def test_a_vector_is_no_mask() -> None:
    with pytest.raises(UserError, match="give slices x height x width"):
        components(np.zeros(4, dtype=bool))


VALUES = [-3e38, -1.0, -1e-30, -2e-45, -0.0, 0.0, 1.5e-45, 1e-40, 1e-30, 1.0, 1.0000001, 3e38]


def test_keys_sort_like_scores_and_join_the_zeros() -> None:
    values = np.asarray(VALUES, dtype=np.float32)
    keys = float32_keys(values).tolist()
    assert keys == sorted(keys)
    assert len(set(keys)) == len(VALUES) - 1
    assert key_values(float32_keys(values)).tolist() == values.astype(np.float64).tolist()


@pytest.mark.parametrize("threshold", [*VALUES, 0.1, -0.1, 1e-46, -1e-46, 1e300, -1e300])
def test_the_key_of_a_threshold_separates_scores_as_the_threshold_does(threshold: float) -> None:
    values = np.asarray([*VALUES, 0.1, -0.1], dtype=np.float32)
    above = float32_keys(values) > threshold_key(threshold)
    assert above.tolist() == (values.astype(np.float64) > threshold).tolist()


@pytest.mark.parametrize("threshold", [float("nan"), float("inf")])
def test_a_threshold_must_be_finite(threshold: float) -> None:
    with pytest.raises(UserError, match="is not finite"):
        threshold_key(threshold)
