"""Prediction of a new patient: the benchmark's own maps, in the patient's own geometry."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from cell_fixture import change_json
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from tiny import scan_path

import anyadbench
from anyadbench.data.trees.background import not_stripped
from anyadbench.errors import UserError
from anyadbench.predict.export import export
from anyadbench.results.kept_maps import KeptMaps, read_maps

LONG = {"F": "flair", "T1": "t1", "T2": "t2"}


@pytest.mark.parametrize("method", ["pixelstats", "anyad"])
def test_the_prediction_of_a_test_patient_is_the_benchmarks_map(
    method: str, trained_cells: dict[str, Path], tiny_phantom: Path
) -> None:
    kept = read_maps(trained_cells[method])
    assert isinstance(kept, KeptMaps)
    predictor = anyadbench.load(trained_cells[method])
    compared = 0
    for scan in {info.scan for info in kept.slices}:
        for r, label in enumerate(kept.subsets[:-1]):
            mine = [k for k, i in enumerate(kept.slices) if i.scan == scan and np.isfinite(kept.maps[k, r]).all()]
            if not mine or (method == "anyad" and label not in ("F", "F+T1+T2")):
                continue
            found = predictor.predict({LONG[s]: scan_path(tiny_phantom, scan, LONG[s]) for s in label.split("+")})
            place = {item.slice: i for i, item in enumerate(found.slices)}
            for k in mine:
                info = kept.slices[k]
                np.testing.assert_allclose(found.grid_maps[place[info.index]], kept.maps[k, r], rtol=2e-5, atol=1e-6)
                assert found.slices[place[info.index]].score == pytest.approx(info.image_scores[label], rel=1e-4)
                compared += 1
    assert compared > 10


def test_the_map_lies_on_the_files_voxels(predictor: Any, flair: Any) -> None:
    found = predictor.predict({"flair": flair})
    assert found.map.shape == flair.shape
    assert found.map.dtype == np.float32
    item = found.slices[len(found.slices) // 2]
    own = found.map[:, :, item.file_index]
    lps = own[::-1, ::-1].T if nibabel.aff2axcodes(flair.affine) == ("R", "A", "S") else own.T
    row = found.slices.index(item)
    np.testing.assert_array_equal(lps, np.where(found.grid_brain[row], found.grid_maps[row], 0))


@pytest.mark.parametrize("codes", ["LAS", "RPI", "PIR", "SLA", "AIL"])
def test_orientation_of_the_file_changes_nothing(codes: str, predictor: Any, flair: Any) -> None:
    turn = ornt_transform(io_orientation(flair.affine), axcodes2ornt(codes))
    turned = flair.as_reoriented(turn)
    plain, found = predictor.predict({"flair": flair}), predictor.predict({"flair": turned})
    assert found.map.shape == turned.shape
    expected = nibabel.Nifti1Image(plain.map, flair.affine).as_reoriented(turn)
    np.testing.assert_array_equal(found.map, np.asarray(expected.dataobj))
    axis = int(np.flatnonzero([code in "SI" for code in codes])[0])
    for item in found.slices:
        row = item.slice - found.slices[0].slice
        own = found.grid_maps[row][found.grid_brain[row]]
        assert np.take(found.map, item.file_index, axis).max() == pytest.approx(own.max(initial=0))


def with_lesion(image: Any) -> tuple[Any, np.ndarray]:
    """Return the image with a bright ball in it, and the ball's centre in world coordinates."""
    array = np.asarray(image.dataobj).astype(np.float32)
    centre = np.array([16.0, 28.0, 11.0])
    steps = np.sqrt((image.affine[:3, :3] ** 2).sum(0))
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)
    ball = (((index - centre) * steps) ** 2).sum(-1) < 15**2
    # No brighter than the value that becomes 1, so that the scale of the rest is unchanged.
    array[ball] = np.percentile(array[array > 0], 99.8)
    return nibabel.Nifti1Image(array, image.affine), image.affine[:3, :3] @ centre + image.affine[:3, 3]


def moved(image: Any, affine: np.ndarray, shape: tuple[int, ...]) -> Any:
    from nibabel.processing import resample_from_to

    return resample_from_to(image, (shape, affine), order=1)


def rotation(degrees: float, axis: int) -> np.ndarray:
    angle = np.radians(degrees)
    out = np.eye(4)
    i, j = [k for k in range(3) if k != axis]
    out[i, i] = out[j, j] = np.cos(angle)
    out[i, j], out[j, i] = -np.sin(angle), np.sin(angle)
    return out


GRIDS = {
    "half the pixels": (np.diag([9.0, 9.0, 7.5, 1.0]), (26, 26, 20)),
    "finer": (np.diag([3.0, 3.0, 5.0, 1.0]), (74, 74, 32)),
    "flipped and finer": (np.diag([-3.0, 3.0, -5.0, 1.0]), (74, 74, 32)),
    "a little tilted": (rotation(8, 0) @ np.diag([4.5, 4.5, 7.5, 1.0]), (52, 52, 22)),
    "much tilted": (rotation(25, 0) @ np.diag([4.5, 4.5, 5.0, 1.0]), (52, 56, 40)),
    "sagittal": (np.array([[0, 0, 7.5, 0], [4.5, 0, 0, 0], [0, 4.5, 0, 0], [0, 0, 0, 1.0]]), (50, 36, 30)),
    "larger field": (np.diag([4.5, 4.5, 7.5, 1.0]), (64, 64, 24)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_known_lesion_is_found_where_it_is_on_any_grid(name: str, predictor: Any, flair: Any) -> None:
    affine, shape = GRIDS[name]
    lesion, where = with_lesion(flair)
    middle = flair.affine[:3, :3] @ ((np.array(flair.shape) - 1) / 2) + flair.affine[:3, 3]
    affine = affine.copy()
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    image = moved(lesion, affine, shape)
    found, plain = (predictor.predict({"flair": moved(i, affine, shape)}) for i in (lesion, flair))
    assert found.map.shape == shape
    np.testing.assert_allclose(found.affine, image.affine)
    rise = np.where(found.brain & plain.brain, np.clip(found.map - plain.map, 0, None), 0)
    rise[rise < 0.5 * rise.max()] = 0
    centre = (np.argwhere(rise > 0) * rise[rise > 0][:, None]).sum(0) / rise.sum()
    assert np.linalg.norm(affine[:3, :3] @ centre + affine[:3, 3] - where) < 9


def test_sequences_on_different_grids_are_resampled_to_one(predictor: Any, flair: Any, tiny_phantom: Path) -> None:
    t1 = nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "t1"))
    turn = ornt_transform(io_orientation(t1.affine), axcodes2ornt("PIR"))
    plain = predictor.predict({"flair": flair, "t1": t1})
    turned = predictor.predict({"flair": flair, "t1": t1.as_reoriented(turn)})
    np.testing.assert_allclose(turned.map, plain.map, atol=1e-5)
    fine = t1.affine.copy()
    fine[:3, :3] /= 2
    other = predictor.predict({"flair": flair, "t1": moved(t1, fine, tuple(2 * n for n in t1.shape))})
    assert np.corrcoef(other.map.ravel(), plain.map.ravel())[0, 1] > 0.97
    assert "T1 has another grid and was resampled to F's." in other.notes
    assert not any("another grid" in note for note in plain.notes)


def test_arrays_are_taken_in_lps_order_with_their_spacing(predictor: Any, flair: Any) -> None:
    turn = ornt_transform(io_orientation(flair.affine), axcodes2ornt("LPS"))
    array = np.asarray(flair.as_reoriented(turn).dataobj)
    found = predictor.predict({"flair": array}, spacing=(4.5, 4.5, 7.5))
    plain = predictor.predict({"flair": flair})
    np.testing.assert_array_equal(found.grid_maps, plain.grid_maps)
    with pytest.raises(UserError, match=r"flair: an array needs spacing=\(x, y, z\)"):
        predictor.predict({"flair": array})


@pytest.mark.parametrize("kind", ["int64", "uint64", "float16", "longdouble", ">i2", "bool"])
def test_an_array_may_have_any_type_of_number(kind: str, predictor: Any, flair: Any) -> None:
    array = np.asarray(flair.dataobj)
    array = array > 0 if kind == "bool" else np.minimum(array, 2000)  # float16 represents integers up to 2048
    found = predictor.predict({"flair": array.astype(kind)}, spacing=(4.5, 4.5, 7.5))
    plain = predictor.predict({"flair": array.astype(np.float32)}, spacing=(4.5, 4.5, 7.5))
    np.testing.assert_array_equal(found.grid_maps, plain.grid_maps)


@pytest.mark.parametrize("spacing", [1.0, "111", ("a", "b", "c"), (1, 1), (1, 1, float("nan")), (1, 0, 1), 7])
def test_a_spacing_that_is_none_is_one_sentence(spacing: Any, predictor: Any, flair: Any) -> None:
    with pytest.raises(UserError, match=r"flair: an array needs spacing=\(x, y, z\), its voxel size in mm"):
        predictor.predict({"flair": np.asarray(flair.dataobj)}, spacing=spacing)


@pytest.mark.parametrize("kind", [nibabel.MGHImage, nibabel.Spm2AnalyzeImage, nibabel.Spm99AnalyzeImage])
def test_images_that_are_no_nifti_are_taken_with_their_affine(
    kind: Any, predictor: Any, flair: Any, tmp_path: Path
) -> None:
    array = np.asarray(flair.dataobj).astype(np.float32)
    found = predictor.predict({"flair": kind(array, flair.affine)})
    plain = predictor.predict({"flair": nibabel.Nifti1Image(array, flair.affine)})
    np.testing.assert_array_equal(found.map, plain.map)
    found.save(tmp_path / "out")
    np.testing.assert_allclose(nibabel.load(tmp_path / "out" / "anomaly.nii.gz").affine, flair.affine, atol=1e-5)


def test_an_image_without_an_orientation_is_refused(predictor: Any, flair: Any) -> None:
    array = np.asarray(flair.dataobj).astype(np.float32)
    with pytest.raises(UserError, match=r"flair does not define its orientation \(it has no affine\); convert it"):
        predictor.predict({"flair": nibabel.AnalyzeImage(array, flair.affine)})


@pytest.mark.parametrize("threshold", [float("nan"), float("-inf"), "high", [1]])
def test_a_threshold_that_is_no_number_is_one_sentence(threshold: Any, predictor: Any, flair: Any) -> None:
    with pytest.raises(UserError, match="The threshold .* is not a finite number; give one in units of the map, e.g."):
        predictor.predict({"flair": flair}, threshold=threshold)


def test_a_threshold_may_be_a_number_of_numpy(predictor: Any, flair: Any, tmp_path: Path) -> None:
    predictor.predict({"flair": flair}, threshold=np.float32(0.5)).save(tmp_path)
    assert json.loads((tmp_path / "prediction.json").read_text())["threshold"] == 0.5


def test_a_scan_without_a_value_above_0_is_refused(predictor: Any, flair: Any) -> None:
    array = -np.asarray(flair.dataobj).astype(np.float32)
    with pytest.raises(
        UserError, match=r"flair has no value above 0 \(its lowest is -.*\), so it shows no brain; give the"
    ):
        predictor.predict({"flair": nibabel.Nifti1Image(array, flair.affine)})


def test_a_scan_that_is_above_0_in_one_voxel_only_has_a_report(predictor: Any, flair: Any, tmp_path: Path) -> None:
    array = -np.asarray(flair.dataobj).astype(np.float32)
    array[tuple(length // 2 for length in array.shape)] = 1
    predictor.predict({"flair": nibabel.Nifti1Image(array, flair.affine)}).save(tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_threshold_is_that_of_the_shown_subset(predictor: Any, flair: Any) -> None:
    own = predictor.cell.normals.subsets["F"].threshold
    found = predictor.predict({"flair": flair})
    assert found.threshold == own
    counted = {item.file_index for item in found.slices if item.counted}
    expected = (found.map > own) & (np.asarray(flair.dataobj) > 0)
    for k in set(range(flair.shape[2])) - counted:
        expected[:, :, k] = False
    np.testing.assert_array_equal(found.mask, expected)
    assert found.volume_ml == pytest.approx(expected.sum() * 4.5 * 4.5 * 7.5 / 1000)
    assert predictor.predict({"flair": flair}, threshold=1e9).volume_ml == 0


def test_without_a_threshold_there_is_no_mask_but_a_sentence(
    predictor: Any, tiny_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("flair", "t1", "t2")
    monkeypatch.delitem(predictor.cell.normals.subsets, "F+T1+T2")
    found = predictor.predict({name: scan_path(tiny_phantom, "Phantom_001_1", name) for name in names})
    assert predictor.cell.threshold(names) is None
    assert found.mask is None
    assert any(note.startswith("No mask: the cell has no threshold") for note in found.notes)


def test_a_head_with_skull_is_noticed_and_a_brain_is_not(predictor: Any, flair: Any) -> None:
    array = np.asarray(flair.dataobj).astype(np.float32)
    noise = np.random.default_rng(0).rayleigh(3, array.shape).astype(np.float32)
    found = predictor.predict({"flair": nibabel.Nifti1Image(array + noise, flair.affine)})
    assert any(note.startswith("F is probably not skull-stripped (only") for note in found.notes)
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1) - (np.array(array.shape) - 1) / 2
    head = (((index * (4.5, 4.5, 7.5)) / (85, 105, 120)) ** 2).sum(-1) < 1
    found = predictor.predict({"flair": nibabel.Nifti1Image(np.where(head, 100 + noise, 0), flair.affine)})
    assert any("is larger than a brain's" in note for note in found.notes)
    from anyadbench.data.trees.volume import volume_of

    assert not_stripped(volume_of(flair, "flair")) == ""


def test_a_background_that_is_not_0_is_subtracted_and_reported(predictor: Any, flair: Any) -> None:
    array = np.asarray(flair.dataobj).astype(np.float32)
    plain = predictor.predict({"flair": nibabel.Nifti1Image(array, flair.affine)})
    found = predictor.predict({"flair": nibabel.Nifti1Image(array - 64, flair.affine)})
    np.testing.assert_array_equal(found.map, plain.map)
    assert any("F has the value -64 outside the brain, where training has 0" in note for note in found.notes)
    assert not any("outside the brain" in note for note in plain.notes)


def test_a_standardised_scan_is_reported_as_such_and_not_as_a_head(predictor: Any, flair: Any) -> None:
    array = np.asarray(flair.dataobj).astype(np.float32)
    brain = array > 0
    scores = np.where(brain, (array - array[brain].mean()) / array[brain].std(), 0)
    notes = predictor.predict({"flair": nibabel.Nifti1Image(scores, flair.affine)}).notes
    assert any("F has values below 0 inside the brain, like z-scores" in note for note in notes)
    assert not any("skull" in note for note in notes)


@pytest.mark.parametrize(("name", "packed"), [("scan.nii", True), ("scan.nii.gz", False), ("scan", True)])
def test_a_scan_is_known_by_its_content_whatever_its_name(
    name: str, packed: bool, predictor: Any, tiny_phantom: Path, tmp_path: Path
) -> None:
    source = scan_path(tiny_phantom, "Phantom_001_1", "flair")
    data = source.read_bytes()
    (tmp_path / name).write_bytes(data if packed else gzip.decompress(data))
    found = predictor.predict({"flair": tmp_path / name})
    np.testing.assert_array_equal(found.map, predictor.predict({"flair": source}).map)


def test_a_sequence_that_the_protocol_lacks_is_reported_and_not_used(predictor: Any, tiny_phantom: Path) -> None:
    paths = {name: scan_path(tiny_phantom, "Phantom_002_1", name) for name in ("flair", "t1ce")}
    found = predictor.predict(paths)
    assert found.shown == ("flair",)
    assert "T1ce was given but not used: the cell's protocol has only F, T1, T2." in found.notes
    with pytest.raises(UserError, match="uses flair, t1, t2 and none of t1ce; give one that it uses"):
        predictor.predict({"t1ce": paths["t1ce"]})


def test_a_sequence_that_is_not_used_changes_nothing(predictor: Any, flair: Any) -> None:
    values = np.random.default_rng(0).uniform(1, 2, flair.shape).astype(np.float32)
    everywhere = nibabel.Nifti1Image(values, flair.affine)
    plain, found = predictor.predict({"flair": flair}), predictor.predict({"flair": flair, "t1ce": everywhere})
    np.testing.assert_array_equal(found.map, plain.map)
    assert found.slices == plain.slices


def test_slices_that_a_sequence_does_not_reach_are_scored_without_it(
    predictor: Any, flair: Any, tiny_phantom: Path
) -> None:
    t1 = nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "t1"))
    upper = t1.slicer[:, :, t1.shape[2] // 3 :]
    alone, both = predictor.predict({"flair": flair}), predictor.predict({"flair": flair, "t1": t1})
    found = predictor.predict({"flair": flair, "t1": upper})
    subsets = {item.file_index: item.subset for item in found.slices}
    assert subsets == {k: "F+T1" if k >= t1.shape[2] // 3 else "F" for k in subsets}
    assert set(subsets.values()) == {"F", "F+T1"}
    for row, item in enumerate(found.slices):
        if item.subset == "F":
            assert item == alone.slices[row]
            np.testing.assert_array_equal(found.mask[:, :, item.file_index], alone.mask[:, :, item.file_index])
        else:  # the intensity scale comes from all available slices
            np.testing.assert_allclose(found.grid_maps[row], both.grid_maps[row], atol=0.02)
    missing = sum(label == "F" for label in subsets.values())
    assert any(f"T1 does not reach {missing} of {len(subsets)} slices" in note for note in found.notes)
    assert not any("does not reach" in note for note in both.notes)


def test_the_field_around_the_brain_changes_nothing(predictor: Any, flair: Any) -> None:
    seen = np.asarray(flair.dataobj) != 0
    x, y = (np.flatnonzero(seen.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2)))
    x, y = ((low, high + 1 + (high + 1 - low) % 2) for low, high in (x, y))
    found = predictor.predict({"flair": flair.slicer[x[0] : x[1], y[0] : y[1]]})
    plain = predictor.predict({"flair": flair})
    assert [item.counted for item in found.slices] == [item.counted for item in plain.slices]
    assert [item.brain for item in found.slices] == pytest.approx([item.brain for item in plain.slices])


@pytest.mark.parametrize("degrees", [3.3, 8, 14])
@pytest.mark.parametrize("shift", [0.0, 1 / 3, -17.7])
def test_no_slice_is_lost_at_the_ends_of_a_tilted_scan(degrees: float, shift: float, predictor: Any) -> None:
    affine = rotation(degrees, 0) @ np.diag([4.5, 4.5, 7.5, 1.0])
    affine[:3, 3] = shift
    x, y = np.mgrid[-1:1:44j, -1:1:44j]
    brain = (((x**2 + y**2) < 0.6) * np.random.default_rng(0).uniform(1, 2, (44, 44)))[..., None] * np.ones(20)
    image = nibabel.Nifti1Image(brain.astype(np.float32), affine)
    found = predictor.predict({"flair": image})
    assert {item.file_index for item in found.slices} == set(range(20))
    assert (found.map.sum((0, 1)) > 0.5 * np.median(found.map.sum((0, 1)))).all()


def test_maps_of_a_protocol_that_resizes_and_crops_are_its_own_and_in_place(
    tiny_protocol: Path, tiny_phantom: Path, flair: Any, tmp_path: Path
) -> None:
    protocol = tmp_path / "cropped.toml"
    rules = "[geometry]\nresize = [64, 64]\ncrop = [40, 48]\n[scoring]\nsmoothing_size = 3\ntop_fraction = 0.02\n"
    protocol.write_text(tiny_protocol.read_text().replace('name = "tiny"', 'name = "cropped"') + rules)
    command = [sys.executable, "-m", "anyadbench", "run", "--method", "pixelstats", "--keep-maps", "all"]
    options = ["--protocol", str(protocol), "--data", str(tiny_phantom), "--runs", str(tmp_path / "runs")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (cell,) = (tmp_path / "runs" / "cells").glob("pixelstats_*")
    kept, predictor = read_maps(cell), anyadbench.load(cell)
    assert isinstance(kept, KeptMaps)
    info = kept.slices[0]
    found = predictor.predict({LONG[s]: scan_path(tiny_phantom, info.scan, LONG[s]) for s in ("F", "T1", "T2")})
    (row,) = (row for row, item in enumerate(found.slices) if item.slice == info.index)
    whole = kept.subsets.index("F+T1+T2")
    np.testing.assert_allclose(found.grid_maps[row], kept.maps[0, whole], rtol=2e-5, atol=1e-6)
    assert found.slices[row].score == pytest.approx(info.image_scores["F+T1+T2"], rel=1e-4)

    lesion, where = with_lesion(flair)
    rise = predictor.predict({"flair": lesion}).map - predictor.predict({"flair": flair}).map
    rise[rise < 0.5 * rise.max()] = 0
    centre = (np.argwhere(rise > 0) * rise[rise > 0][:, None]).sum(0) / rise.sum()
    assert np.linalg.norm(flair.affine[:3, :3] @ centre + flair.affine[:3, 3] - where) < 9
    side = predictor.cell.grid[0]
    outside = round(side * (64 - 40) / 2 / 64) - 1  # rows outside the crop, except one that it may share
    rows = np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(found.map, found.affine)).dataobj)[:, ::-1]
    assert not rows[:, :outside].any() and not rows[:, -outside:].any() and rows.any()
    with pytest.raises(UserError, match="A cell of cropped cannot be exported: its protocol crops slices"):
        export(anyadbench.load(cell, device="cpu"), "torchscript", tmp_path / "graph.pt")


def test_a_thin_scan_is_compared_in_all_its_slices(predictor: Any, flair: Any) -> None:
    thin = np.asarray(flair.dataobj)[:, :, 6:10].copy()
    thin[:, :, 0] = 0
    far = flair.affine.copy()
    far[2, 3] += 500
    images = {"flair": nibabel.Nifti1Image(thin, flair.affine), "t1": nibabel.Nifti1Image(thin, far)}
    with pytest.raises(UserError, match="covers less than half of what"):
        predictor.predict(images)


def test_a_scan_of_another_place_in_the_same_field_is_refused(predictor: Any, flair: Any) -> None:
    corner = np.zeros(flair.shape, np.float32)
    corner[:4, :4, :4] = 100
    with pytest.raises(UserError, match="image and image show different places; they are of different"):
        predictor.predict({"flair": flair, "t1": nibabel.Nifti1Image(corner, flair.affine)})


def test_bad_scans_are_one_sentence(predictor: Any, flair: Any) -> None:
    far = flair.affine.copy()
    far[:3, 3] += 500
    with pytest.raises(UserError, match="image covers less than half of what image shows"):
        predictor.predict({"flair": flair, "t1": nibabel.Nifti1Image(np.asarray(flair.dataobj), far)})
    with pytest.raises(UserError, match="has the value 0 everywhere; give the right image"):
        predictor.predict({"flair": np.zeros((8, 8, 8), np.float32)}, spacing=(1, 1, 1))
    with pytest.raises(UserError, match="Unknown sequence 'swi'"):
        predictor.predict({"swi": flair})
    with pytest.raises(UserError, match="No sequence is given"):
        predictor.predict({})
    with pytest.raises(UserError, match="flair: a int is not a scan"):
        predictor.predict({"flair": 3})
    with pytest.raises(UserError, match=r"nowhere.nii.gz is missing; check the path"):
        predictor.predict({"flair": "nowhere.nii.gz"})
    with pytest.raises(UserError, match=r"has 4 axes \(4, 4, 4, 2\) where a volume has 3"):
        predictor.predict({"flair": np.ones((4, 4, 4, 2), np.float32)}, spacing=(1, 1, 1))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("plan.json", r"lacks plan.json \(the method's parameters\); copy the whole folder"),
        ("protocol.toml", r"lacks protocol.toml \(the protocol's sequences"),
        ("result.json", r"lacks result.json \(the thresholds"),
        ("manifest.json", r"lacks manifest.json \(the identity"),
        ("cell.json", r"is not a cell: it has no cell.json"),
    ],
)
def test_a_missing_file_of_a_cell_is_named(name: str, sentence: str, cell_copy: Path) -> None:
    (cell_copy / name).unlink()
    with pytest.raises(UserError, match=sentence):
        anyadbench.load(cell_copy)


def test_a_cell_alone_is_enough_and_its_fit_can_provide_the_weights(
    trained_cells: dict[str, Path], tmp_path: Path, flair: Any
) -> None:
    source = trained_cells["pixelstats"]
    cell = tmp_path / "runs" / "cells" / source.name
    shutil.copytree(source, cell)
    alone = anyadbench.load(cell).predict({"flair": flair})
    (cell / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks .*tensors \(the trained state of the method\), and its fit .* none"):
        anyadbench.load(cell)
    shutil.copytree(source.parent.parent / "fits", tmp_path / "runs" / "fits")
    assert np.array_equal(anyadbench.load(cell).predict({"flair": flair}).map, alone.map)


def test_one_model_per_set_is_refused(cell_copy: Path) -> None:
    (cell_copy / "weights.safetensors").rename(cell_copy / "weights-F.safetensors")
    with pytest.raises(UserError, match=r"has one model for each set of sequences \(--missing retrain\)"):
        anyadbench.load(cell_copy)


def test_what_is_no_finished_cell_is_refused(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder; give the folder of a finished cell"):
        anyadbench.load(tmp_path / "none")
    with pytest.raises(UserError, match=r"is not a cell: .* give one of its cells, e.g. .*anyad_tiny"):
        anyadbench.load(trained_cells["anyad"].parent)
    (tmp_path / "x.partial").mkdir()
    with pytest.raises(UserError, match="is not finished; run the same 'anyadbench run' again"):
        anyadbench.load(tmp_path / "x.partial")


def test_the_hash_of_a_cells_name_may_be_left_out_while_it_names_one(
    trained_cells: dict[str, Path], tmp_path: Path
) -> None:
    source = trained_cells["pixelstats"]
    short = source.with_name(source.name.rpartition("_")[0])
    assert anyadbench.load(short).cell.folder == source
    for digits in ("0", "1"):
        shutil.copytree(source, tmp_path / f"{short.name}_{digits}")
    with pytest.raises(UserError, match=rf"is ambiguous \({short.name}_0, {short.name}_1\); give the full name"):
        anyadbench.load(tmp_path / short.name)


def test_a_damaged_or_foreign_state_is_refused(cell_copy: Path) -> None:
    (cell_copy / "weights.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(UserError, match="weights.safetensors does not fit the installed pixelstats"):
        anyadbench.load(cell_copy)
    (cell_copy / "result.json").write_text("{}")
    with pytest.raises(UserError, match=r"has a damaged plan.json or result.json"):
        anyadbench.load(cell_copy)


def test_loading_a_cell_leaves_the_callers_random_numbers_alone(trained_cells: dict[str, Path]) -> None:
    import torch

    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    anyadbench.load(trained_cells["pixelstats"])
    assert (torch.rand(1), np.random.rand()) == expected


def test_a_cell_reports_meaningless_scores_and_changed_code(cell_copy: Path) -> None:
    change_json(cell_copy / "result.json", lambda result: result["method"].update(code_hash="0" * 64))
    notes = anyadbench.load(cell_copy).notes
    assert "The installed code of pixelstats differs from the code that this cell was run with." in notes
    assert any("budget tiny" in note for note in notes)
