"""Predictions count inside the brain: mask, volume, scores, peak, clusters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from tiny import scan_path

import anyadbench
from anyadbench.errors import UserError
from anyadbench.hashing import sha256_file
from anyadbench.predict.findings.inside import keep_inside, tissue
from anyadbench.predict.findings.settings import OLD_CELL


@pytest.fixture(scope="module")
def predictor(trained_cells: dict[str, Path]) -> Any:
    return anyadbench.load(trained_cells["pixelstats"])


@pytest.fixture(scope="module")
def scans(tiny_phantom: Path) -> dict[str, Any]:
    return {name: nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", name)) for name in ("flair", "t1")}


def test_nothing_lies_outside_the_brain_on_any_axes(predictor: Any, scans: dict[str, Any]) -> None:
    flair = scans["flair"]
    for codes in ("RAS", "PIL"):
        image = flair.as_reoriented(ornt_transform(io_orientation(flair.affine), axcodes2ornt(codes)))
        found = predictor.predict({"flair": image}, threshold=0.2, smallest_ml=0.5)
        np.testing.assert_array_equal(found.brain, np.asarray(image.dataobj) != 0)
        assert found.mask.any() and not (found.mask & ~found.brain).any()
        assert found.brain[np.unravel_index(found.map.argmax(), found.map.shape)]
        assert not found.map[~found.brain].any()
        np.testing.assert_array_equal(found.cluster_labels > 0, found.mask)
        assert found.volume_ml == pytest.approx(sum(item.volume_ml for item in found.clusters))
        assert min(item.volume_ml for item in found.clusters) >= 0.5
        first = found.clusters[0]
        assert (first.number, first.peak) == (1, max(item.peak for item in found.clusters))
        assert found.map[first.peak_index] == first.peak
        np.testing.assert_allclose(first.peak_mm, (image.affine @ [*first.peak_index, 1])[:3], atol=1e-3)


def test_the_brain_is_where_any_used_sequence_shows_tissue(predictor: Any, scans: dict[str, Any]) -> None:
    flair = np.asarray(scans["flair"].dataobj).copy()
    t1 = np.asarray(scans["t1"].dataobj).copy()
    flair[10:14], t1[20:24] = 0, 0
    images = {
        "flair": nibabel.Nifti1Image(flair, scans["flair"].affine),
        "t1": nibabel.Nifti1Image(t1, scans["t1"].affine),
    }
    found = predictor.predict(images)
    np.testing.assert_array_equal(found.brain, (flair != 0) | (t1 != 0))
    # T1ce is none of the protocol's sequences, so it is not used and shows nothing to the method.
    other = predictor.predict({"t1ce": images["t1"], "flair": images["flair"]})
    np.testing.assert_array_equal(other.brain, flair != 0)


def test_a_map_below_zero_still_has_its_peak_in_the_brain() -> None:
    brain = np.zeros((4, 4, 2), bool)
    brain[1:3, 1:3] = True
    scores = np.where(brain, -3.0, 0.0).astype(np.float32)
    scores[2, 2, 1] = -1
    kept = keep_inside(scores, brain)
    assert np.unravel_index(kept.argmax(), kept.shape) == (2, 2, 1)
    assert (kept[~brain] == -3).all()
    np.testing.assert_array_equal(keep_inside(-scores, brain)[~brain], 0)
    assert not keep_inside(scores, np.zeros_like(brain)).any()


def test_tissue_on_a_coarser_grid_is_what_fills_half_of_a_pixel() -> None:
    values = np.zeros((1, 2, 8, 8), np.float32)
    values[0, 0, :5, :4] = 1
    values[0, 1, 6:, 6:] = 1
    expected = np.zeros((4, 4), bool)
    expected[:3, :2] = True
    np.testing.assert_array_equal(tissue(values, [0], (4, 4))[0], expected)
    expected[3, 3] = True
    np.testing.assert_array_equal(tissue(values, [0, 1], (4, 4))[0], expected)
    np.testing.assert_array_equal(tissue(values, [1], (8, 8))[0], values[0, 1] > 0)


def test_the_patient_score_is_the_mean_of_the_highest_hundredth_of_the_brain(
    predictor: Any, scans: dict[str, Any]
) -> None:
    found = predictor.predict({"flair": scans["flair"]})
    counted = [i for i, item in enumerate(found.slices) if item.counted]
    pixels = np.sort(np.concatenate([found.grid_maps[i][found.grid_brain[i]] for i in counted]))
    assert found.patient_score == pytest.approx(pixels[-(len(pixels) // 100) :].mean(dtype=np.float64))
    one = counted[len(counted) // 2]
    own = np.sort(found.grid_maps[one][found.grid_brain[one]])
    assert found.slices[one].brain_score == pytest.approx(own[-max(1, len(own) // 100) :].mean(dtype=np.float64))


def test_what_lies_in_air_changes_neither_mask_nor_patient_score(
    predictor: Any, scans: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyadbench.engine.scoring import Evaluator

    plain = predictor.predict({"flair": scans["flair"]})
    score = Evaluator.score

    def bright_air(self: Any, values: np.ndarray, *arguments: Any) -> Any:
        maps, images = score(self, values, *arguments)
        return np.where((values > 0).any(axis=1), maps, np.float32(1e6)), images

    monkeypatch.setattr(Evaluator, "score", bright_air)
    found = predictor.predict({"flair": scans["flair"]})
    np.testing.assert_array_equal(found.mask, plain.mask)
    np.testing.assert_array_equal(found.map, plain.map)
    assert (found.patient_score, found.clusters) == (plain.patient_score, plain.clusters)
    assert found.percentiles == plain.percentiles and found.reference == plain.reference


def test_percentiles_and_range_come_from_the_cells_validation_normals(predictor: Any, scans: dict[str, Any]) -> None:
    normals = predictor.cell.normals.subsets["F"]
    row = next(row for row in predictor.cell.result.rows if row.subset == "F")
    assert normals.threshold == row.threshold.value
    own_file = predictor.cell.folder / "scores" / "normals.npz"
    assert predictor.cell.result.files["scores/normals.npz"] == sha256_file(own_file)
    assert "Phantom" not in own_file.read_bytes().decode("latin-1"), "the file names no subject"
    found = predictor.predict({"flair": scans["flair"]})
    own = found.percentiles
    assert (own.n_slices, own.n_scans, own.among) == (normals.n_slices, 1, "slices")
    assert own.patient == pytest.approx(100 * (normals.slices["brain_score"] < found.patient_score).mean())
    assert len(own.slices) == len(found.slices)
    assert all(value is None for value, item in zip(own.slices, found.slices, strict=True) if not item.counted)
    assert any(value is not None for value in own.slices)
    shares = normals.shares(found.threshold)
    brain_ml = found.reference["brain_ml"]
    np.testing.assert_allclose(found.reference["normal_volume_ml"], [shares.min() * brain_ml, shares.max() * brain_ml])
    assert found.reference["above_threshold_ml"] == pytest.approx(found.volume_ml)
    assert 0 < brain_ml <= found.brain.sum() * 4.5 * 4.5 * 7.5 / 1000
    assert found.clusters[0].percentile is not None


def test_volumes_of_a_leaning_stack_agree(predictor: Any, scans: dict[str, Any]) -> None:
    image = scans["flair"]
    affine = image.affine.copy()
    affine[:3, 2] += 0.8 * affine[:3, 0]
    leaning = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    found = predictor.predict({"flair": leaning}, smallest_ml=0)
    assert found.volume_ml > 0 and found.reference["above_threshold_ml"] == pytest.approx(found.volume_ml)


def test_the_threshold_leaves_one_percent_of_the_normals_brain_above(predictor: Any) -> None:
    for own in predictor.cell.normals.subsets.values():
        pixels = own.slices["pixels"]
        assert (own.shares(own.threshold) * pixels).sum() / pixels.sum() == pytest.approx(0.01, abs=0.003)


def test_a_cell_without_normals_gives_no_mask_and_says_why(cell_copy: Path, scans: dict[str, Any]) -> None:
    (cell_copy / "scores" / "normals.npz").unlink()
    old = anyadbench.load(cell_copy)
    found = old.predict({"flair": scans["flair"]})
    assert OLD_CELL in found.notes
    assert (found.mask, found.percentiles, found.reference, found.clusters) == (None, None, None, ())
    given = old.predict({"flair": scans["flair"]}, threshold=0.2)
    assert given.mask is not None and given.mask.any()


def test_damaged_normals_are_one_sentence(cell_copy: Path, scans: dict[str, Any]) -> None:
    (cell_copy / "scores" / "normals.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"cell/scores/normals\.npz is damaged; run the cell again\."):
        anyadbench.load(cell_copy).predict({"flair": scans["flair"]})


def test_a_scan_that_differs_as_a_whole_has_no_mask_but_a_sentence(predictor: Any, scans: dict[str, Any]) -> None:
    array = np.asarray(scans["flair"].dataobj).astype(np.float32)
    noise = np.random.default_rng(0).random(array.shape, dtype=np.float32) * array.max() * 0.1
    found = predictor.predict(
        {"flair": nibabel.Nifti1Image(np.where(array > 0, array.max() + noise, 0), scans["flair"].affine)}
    )
    assert found.reference["share_of_brain"] > 0.15
    assert (found.mask, found.volume_ml, found.clusters) == (None, None, ())
    assert not found.cluster_labels.any()
    (note,) = [note for note in found.notes if note.startswith("No mask: ")]
    assert "in three of four slices, where the cell's validation normals have up to" in note
    assert note.endswith("with 'anyadbench calibrate', or give one with --threshold.")


def test_a_large_lesion_is_no_reason_to_withhold_the_mask(predictor: Any, scans: dict[str, Any]) -> None:
    array = np.asarray(scans["flair"].dataobj).astype(np.float32)
    index = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)
    ball = ((((index - [18, 24, 11]) * (4.5, 4.5, 7.5)) ** 2).sum(-1) < 42**2) & (array > 0)
    found = predictor.predict({"flair": nibabel.Nifti1Image(np.where(ball, array.max(), array), scans["flair"].affine)})
    assert found.mask is not None
    assert (found.mask & ball).sum() > 0.5 * ball.sum()
    assert not any("whole scan differs" in note for note in found.notes)


def test_a_mask_larger_than_most_lesions_is_withheld_until_a_threshold_is_given(
    cell_copy: Path, scans: dict[str, Any]
) -> None:
    from dataclasses import replace

    from anyadbench.results.normals import load_normals, save_normals

    path = cell_copy / "scores" / "normals.npz"
    whole = load_normals(path, "normals.npz")
    save_normals(path, replace(whole, subsets={"F": replace(whole.subsets["F"], threshold=0.25)}))
    array = np.asarray(scans["flair"].dataobj).astype(np.float32)
    index = np.arange(array.shape[2])
    half = nibabel.Nifti1Image(np.where((array > 0) & (index < 11), array.max(), array), scans["flair"].affine)
    old = anyadbench.load(cell_copy)
    found = old.predict({"flair": half})
    assert (found.mask, found.clusters) == (None, ())
    (note,) = [note for note in found.notes if note.startswith("No mask: ")]
    said = r"No mask: it would cover (1[5-9]|[2-9]\d)% of the brain, .*, so the threshold of 0\.25 may not hold for "
    assert re.match(said, note)
    assert note.endswith("; look at the map, and give this threshold or a higher one with --threshold.")
    given = old.predict({"flair": half}, threshold=0.25)
    assert given.mask is not None and given.mask.sum() > 0.15 * given.brain.sum()


def test_few_normal_slices_are_no_reference(cell_copy: Path, scans: dict[str, Any]) -> None:
    from dataclasses import replace

    from anyadbench.results.normals import load_normals, save_normals

    path = cell_copy / "scores" / "normals.npz"
    whole = load_normals(path, "normals.npz")
    own = whole.subsets["F"]
    few = replace(own, slices={name: column[:4] for name, column in own.slices.items()})
    save_normals(path, replace(whole, subsets={"F": few}))
    found = anyadbench.load(cell_copy).predict({"flair": scans["flair"]})
    assert (found.percentiles, found.reference) == (None, None)
    assert (
        "No percentiles and no reference range: the cell has 4 normal slices for F; comparing takes 5, which"
        in " ".join(found.notes)
    )
    assert found.mask is not None


def test_the_files_of_a_patient_hold_clusters_percentiles_and_range(
    predictor: Any, scans: dict[str, Any], tmp_path: Path
) -> None:
    found = predictor.predict({"flair": scans["flair"]})
    found.save(tmp_path)
    scores = json.loads((tmp_path / "prediction.json").read_text())
    assert [item["number"] for item in scores["clusters"]] == list(range(1, len(found.clusters) + 1))
    assert scores["percentiles"]["patient"] == found.percentiles.patient
    assert scores["reference"]["normal_volume_ml"] == found.reference["normal_volume_ml"]
    assert (tmp_path / "clusters.csv").read_text().count("\n") == len(found.clusters) + 1
    page = (tmp_path / "report.html").read_text()
    assert "normal slices of this brain volume have" in page and "not a measure of lesion load" in page


@pytest.mark.parametrize("value", [-0.1, "small"])
def test_a_smallest_cluster_out_of_range_is_refused(value: Any, predictor: Any, scans: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="The smallest cluster of .* ml is out of range"):
        predictor.predict({"flair": scans["flair"]}, smallest_ml=value)
