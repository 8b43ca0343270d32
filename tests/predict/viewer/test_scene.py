"""The 8-bit volumes of a report: their place, their values and their size."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace

import numpy as np
import pytest
from viewer_fixture import SHAPE, a_prediction

from anyadbench.predict.viewer.pictures import TILE, slice_with_map, top_views
from anyadbench.predict.viewer.scene import MAX_VOXELS, UNNUMBERED, Layer, encode, lps, map_layers, scene_of


def real(layer: Layer) -> np.ndarray:
    return layer.low + (layer.high - layer.low) / 255 * layer.values.astype(np.float64)


def test_volumes_are_those_of_the_prediction_within_a_level() -> None:
    prediction = a_prediction()
    scene = scene_of(prediction)
    layers = map_layers(prediction, scene)
    box = tuple(slice(a, a + n) for a, n in zip(scene.start, scene.shape, strict=True))
    turned = prediction.map[::-1, ::-1][box]  # RAS to LPS
    inside = (prediction.brain[::-1, ::-1][box]) & (turned < layers.map.high)
    step = (layers.map.high - layers.map.low) / 255
    np.testing.assert_allclose(real(layers.map)[inside], turned[inside], atol=0.51 * step)
    assert (layers.map.values[~prediction.brain[::-1, ::-1][box]] == 0).all()
    np.testing.assert_array_equal(layers.marks, prediction.cluster_labels[::-1, ::-1][box])
    flair = prediction.volumes["flair"].array[box]
    inside = (flair > 0) & (flair < scene.scans["flair"].high)
    np.testing.assert_allclose(real(scene.scans["flair"])[inside], flair[inside], atol=scene.scans["flair"].high / 500)


def test_the_orientation_of_the_file_changes_nothing_but_its_own_indices() -> None:
    one, other = a_prediction("RAS"), a_prediction("LPI")
    scenes = scene_of(one), scene_of(other)
    layers = map_layers(one, scenes[0]), map_layers(other, scenes[1])
    for name in scenes[0].scans:
        np.testing.assert_array_equal(scenes[0].scans[name].values, scenes[1].scans[name].values)
    np.testing.assert_array_equal(layers[0].map.values, layers[1].map.values)
    np.testing.assert_allclose(scenes[0].affine, scenes[1].affine)
    peak, mirrored = one.clusters[0].peak_index, other.clusters[0].peak_index
    assert mirrored == tuple(n - 1 - i for n, i in zip(SHAPE, peak, strict=True))
    assert scenes[0].place(peak) == scenes[1].place(mirrored)


@pytest.mark.parametrize("codes", ["RAS", "LPI"])
def test_the_peak_of_each_cluster_is_at_its_drawn_voxel(codes: str) -> None:
    prediction = a_prediction(codes)
    scene = scene_of(prediction)
    layers = map_layers(prediction, scene)
    assert len(prediction.clusters) == 2
    for cluster in prediction.clusters:
        at = scene.place(cluster.peak_index)
        own = layers.marks == cluster.number
        assert layers.map.values[at] == layers.map.values[own].max()
        there = scene.affine @ [*at, 1]
        np.testing.assert_allclose(there[:3], cluster.peak_mm, atol=1e-3)
        np.testing.assert_allclose((scene.to_file @ [*at, 1])[:3], cluster.peak_index, atol=1e-6)


@pytest.mark.parametrize(("codes", "most"), [("RAS", 16_000_000), ("LPI", 16_000_000), ("RAS", 5_000)])
def test_an_oblique_scan_shows_the_scored_slices_themselves(codes: str, most: int) -> None:
    whole = a_prediction(codes)
    angle = np.deg2rad(14)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    front = np.zeros(SHAPE, bool)
    front[:, 40:] = True  # what is drawn lies off the centre of the slices
    front = front if codes == "RAS" else front[:, ::-1]
    oblique = turn @ whole.affine
    brain = whole.brain & front
    array = lps(np.where(brain, whole.map + 1, 0), whole.affine).astype(np.float32)
    centre = np.array([(SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2])
    volume = whole.volumes["flair"]
    volume = replace(volume, array=array, affine=turn @ volume.affine, native_affine=oblique)
    heights = [(volume.affine @ [*centre, item.slice, 1])[2] for item in whole.slices]
    slices = tuple(replace(item, height_mm=float(h)) for item, h in zip(whole.slices, heights, strict=True))
    prediction = replace(whole, affine=oblique, brain=brain, slices=slices, volumes={"flair": volume})
    scene = scene_of(prediction, max_voxels=most)
    layers = map_layers(prediction, scene)
    assert (scene.steps == (1, 1, 1)) == (most > 5_000)
    for view in top_views(prediction, scene, layers):
        z = (view.item.slice - scene.start[2]) // scene.steps[2]
        assert dict(view.pictures)["anomaly map"] == slice_with_map(prediction, scene, layers, z, TILE)
    tilted = replace(slices[5], file_index=None)
    assert scene.slice_of(tilted) != scene.slice_of(slices[5])  # its own stack has other heights


@pytest.mark.parametrize("most", [30_000, 8_000])
def test_a_large_patient_is_drawn_coarser_and_keeps_its_peaks(most: int) -> None:
    prediction = a_prediction()
    whole, scene = scene_of(prediction), scene_of(prediction, max_voxels=most)
    layers = map_layers(prediction, scene)
    drawn = sum(int(np.count_nonzero(layer.values)) for layer in scene.scans.values())
    assert drawn <= 1.3 * most < sum(int(np.count_nonzero(layer.values)) for layer in whole.scans.values())
    assert scene.steps[0] == scene.steps[1] >= scene.steps[2]  # the thick slices are kept longest
    assert layers.marks.shape == layers.map.values.shape == scene.shape
    for cluster in prediction.clusters:
        at = scene.place(cluster.peak_index)
        assert layers.marks[at] == cluster.number
        assert layers.map.values[at] == layers.map.values[layers.marks == cluster.number].max()
        there = (scene.affine @ [*at, 1])[:3]
        assert (np.abs(there - cluster.peak_mm) <= 0.5 * np.array(scene.steps) * (2, 2, 5) + 1e-6).all()


def test_random_volumes_of_the_largest_size_fit_into_a_page_of_25_mb() -> None:
    values = np.random.default_rng(1).integers(1, 256, (100, 100, 40), dtype=np.uint8)
    assert len(encode(values)) / values.size * MAX_VOXELS < 22.5e6


def test_encoding_can_be_undone() -> None:
    values = np.random.default_rng(1).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    rows = np.frombuffer(gzip.decompress(base64.b64decode(encode(values))), np.uint8).reshape(3, 4, 5)
    np.testing.assert_array_equal(np.cumsum(rows, axis=1, dtype=np.uint8).transpose(2, 1, 0), values)


def test_a_map_from_another_grid_is_brought_to_the_first_inputs() -> None:
    prediction, other = a_prediction(), a_prediction("LPI")
    moved = replace(other, affine=other.affine @ np.array([[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    scene = scene_of(prediction)
    ours, theirs = map_layers(prediction, scene), map_layers(moved, scene)
    np.testing.assert_array_equal(theirs.marks[:-1] > 0, ours.marks[1:] > 0)


def test_without_a_threshold_there_are_no_marks_and_many_clusters_share_the_last() -> None:
    bare = a_prediction(threshold=None)
    assert not map_layers(bare, scene_of(bare)).marks.any()
    prediction = a_prediction()
    many = replace(prediction, cluster_labels=prediction.cluster_labels * 300)
    assert set(np.unique(map_layers(many, scene_of(many)).marks)) == {0, UNNUMBERED}


def test_a_flat_map_has_a_colour_scale() -> None:
    prediction = a_prediction(threshold=None)
    flat = replace(prediction, map=np.zeros_like(prediction.map))
    layers = map_layers(flat, scene_of(flat))
    assert layers.scale[0] < layers.scale[1] and layers.map.low < layers.map.high
    assert not layers.map.values.any()
