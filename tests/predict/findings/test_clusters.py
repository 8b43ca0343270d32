"""The clusters of a mask."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.predict.findings.clusters import Clusters, check_smallest, clusters_csv, find_clusters

AFFINE = np.array([[0, -2.0, 0, 10], [1.0, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
"""Axes run to anterior, left and superior; a voxel has 6 mm³."""


def by_flooding(mask: np.ndarray) -> list[frozenset[tuple[int, ...]]]:
    """Label by walking from voxel to voxel, the slow and plain way."""
    left, found = {tuple(map(int, index)) for index in np.argwhere(mask)}, []
    steps = [tuple(step) for step in np.argwhere(np.ones((3, 3, 3))) - 1]
    while left:
        todo = [left.pop()]
        own = set(todo)
        while todo:
            at = todo.pop()
            near = {tuple(int(a + b) for a, b in zip(at, step, strict=True)) for step in steps} & left
            left -= near
            own |= near
            todo += near
        found.append(frozenset(own))
    return found


def members(clusters: Clusters) -> list[frozenset[tuple[int, ...]]]:
    return [
        frozenset(tuple(map(int, index)) for index in np.argwhere(clusters.labels == item.number))
        for item in clusters.listed
    ]


@pytest.mark.parametrize("seed", range(8))
def test_clusters_are_those_of_a_walk_over_26_neighbours(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((9, 8, 7)) < 0.12
    scores = random.random(mask.shape, dtype=np.float32)
    found = find_clusters(mask, scores, AFFINE, 0.0)
    assert {*members(found)} == {*by_flooding(mask)}
    assert found.labels.max() == len(found.listed)
    np.testing.assert_array_equal(found.labels > 0, mask)
    for item, own in zip(found.listed, members(found), strict=True):
        index = np.array(sorted(own))
        values = scores[tuple(index.T)]
        assert (item.voxels, item.peak) == (len(own), values.max())
        assert item.volume_ml == pytest.approx(len(own) * 6 / 1000)
        assert item.mean == pytest.approx(values.mean())
        assert scores[item.peak_index] == item.peak
        np.testing.assert_allclose(item.peak_mm, (AFFINE @ [*item.peak_index, 1])[:3], atol=1e-3)
        np.testing.assert_allclose(item.centre_mm, (AFFINE @ [*index.mean(0), 1])[:3], atol=1e-3)
        assert [list(span) for span in item.bounds] == np.stack([index.min(0), index.max(0) + 1], axis=1).tolist()


def test_the_first_cluster_has_the_highest_peak() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[0], mask[4, 1, 1], mask[8, 0, 0] = True, True, True
    scores = np.where(mask, 1, 0).astype(np.float32)
    scores[4, 1, 1] = 5
    found = find_clusters(mask, scores, AFFINE)
    assert [(item.number, item.peak, item.voxels) for item in found.listed] == [(1, 5, 1), (2, 1, 9), (3, 1, 1)]
    assert found.labels[4, 1, 1] == 1 and found.labels[8, 0, 0] == 3


def test_clusters_below_the_smallest_volume_are_removed_and_counted() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[0], mask[4, 1, 1], mask[8, 0, :2] = True, True, True
    found = find_clusters(mask, mask.astype(np.float32), AFFINE, smallest_ml=0.012)
    assert [item.voxels for item in found.listed] == [9, 2], "two voxels of 6 mm³ have exactly 0.012 ml"
    assert (found.removed, found.removed_ml) == (1, pytest.approx(0.006))
    assert not found.labels[4, 1, 1]
    assert find_clusters(mask, mask.astype(np.float32), AFFINE, smallest_ml=1.0).listed == ()


def test_a_mask_without_voxels_has_no_cluster() -> None:
    empty = np.zeros((4, 3, 2), bool)
    found = find_clusters(empty, empty.astype(np.float32), AFFINE)
    assert found.listed == () and not found.labels.any() and found.labels.dtype == np.int32
    assert clusters_csv(found.listed).count("\n") == 1


def test_the_table_has_a_line_for_each_cluster() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[2, 1, 1], mask[6, 1, 1:] = True, True
    found = find_clusters(mask, np.arange(81, dtype=np.float32).reshape(9, 3, 3), AFFINE)
    lines = list(csv.DictReader(io.StringIO(clusters_csv(found.listed))))
    assert [line["number"] for line in lines] == ["1", "2"]
    assert (lines[0]["voxels"], lines[0]["volume_ml"], lines[0]["percentile"]) == ("2", "0.0120", "")
    assert [lines[1][f"peak_{axis}"] for axis in "ijk"] == ["2", "1", "1"]
    assert [lines[1][f"peak_{axis}_mm"] for axis in "xyz"] == ["8.0", "-18.0", "8.0"]


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "small", [1]])
def test_a_smallest_cluster_out_of_range_is_one_sentence(value: Any) -> None:
    with pytest.raises(UserError, match=r"^The smallest cluster of .* ml is out of range; give 0 or more"):
        check_smallest(value)
