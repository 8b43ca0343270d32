"""Slices that do not count: nothing is said about them, and the air around a head changes nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from tiny import scan_path

from anyadbench.errors import UserError
from anyadbench.predict.findings.sentences import top_line
from anyadbench.predict.viewer.cohort import Outcome, write_cohort


def cropped(image: Any) -> Any:
    """Return the image without any air around its foreground."""
    seen = np.asarray(image.dataobj) != 0
    x, y = (np.flatnonzero(seen.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2)))
    return image.slicer[x[0] : x[1] + 1, y[0] : y[1] + 1]


def padded(image: Any, *air: tuple[int, int]) -> Any:
    """Return the image with air at both ends of each axis."""
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [before for before, _ in air]
    return nibabel.Nifti1Image(np.pad(np.asarray(image.dataobj), air), affine)


def ball(image: Any, radius_mm: float, slices: slice = slice(None)) -> Any:
    """Return what the image shows within a radius of its middle; in the other slices all of it."""
    array = np.asarray(image.dataobj).copy()
    index = np.stack(np.meshgrid(*map(np.arange, array.shape[:2]), indexing="ij"), -1)
    steps = np.sqrt((image.affine[:2, :2] ** 2).sum(0))
    far = (((index - (np.array(array.shape[:2]) - 1) / 2) * steps) ** 2).sum(-1) > radius_mm**2
    array[:, :, slices][far] = 0
    return nibabel.Nifti1Image(array, image.affine)


def radius_of(predictor: Any, share: float) -> float:
    """Return the radius of a disc that covers a share of the training field, in mm."""
    height, width = predictor.cell.grid
    area = share * height * width * np.prod(predictor.cell.spacing)
    return float(np.sqrt(area / np.pi))


AIR = {
    "a little": ((1, 1), (1, 1), (0, 0)),
    "wide": ((30, 30), (30, 30), (0, 0)),
    "wide and uneven": ((3, 41), (28, 1), (2, 5)),
}


@pytest.mark.parametrize("name", AIR)
@pytest.mark.parametrize("radius_share", [None, 0.102, 0.012])
def test_air_around_a_head_changes_neither_slices_nor_volume(
    name: str, radius_share: float | None, predictor: Any, flair: Any
) -> None:
    head = flair if radius_share is None else ball(flair, radius_of(predictor, radius_share), slice(8, None))
    tight = cropped(head)
    air, below = padded(tight, *AIR[name]), AIR[name][2][0]
    one, other = predictor.predict({"flair": tight}), predictor.predict({"flair": air})
    assert [(item.slice + below, item.counted) for item in one.slices] == [
        (item.slice, item.counted) for item in other.slices
    ]
    assert [item.brain for item in one.slices] == pytest.approx([item.brain for item in other.slices])
    assert one.volume_ml is not None and one.volume_ml > 0
    assert other.volume_ml == pytest.approx(one.volume_ml)
    assert other.patient_score == pytest.approx(one.patient_score)
    (x, _), (y, _), (z, _) = AIR[name]
    a, b, c = tight.shape
    np.testing.assert_allclose(other.map[x : x + a, y : y + b, z : z + c], one.map, rtol=1e-4, atol=1e-5)


def test_without_a_slice_that_counts_nothing_is_said_to_be_found(predictor: Any, flair: Any, tmp_path: Path) -> None:
    found = predictor.predict({"flair": ball(flair, radius_of(predictor, 0.085))})
    assert found.slices and not any(item.counted for item in found.slices)
    assert (found.mask, found.volume_ml, found.patient_score) == (None, None, None)
    assert (found.percentiles, found.reference, found.clusters, found.alarm) == (None, None, (), None)
    (note,) = (note for note in found.notes if note.startswith("No mask, volume or patient score"))
    n = found.n_brain
    assert f"none of the {n} slices with brain counts (each has brain on less than 10 % of the training field" in note

    found.save(tmp_path / "out" / "anna", "anna")
    scores = json.loads((tmp_path / "out" / "anna" / "prediction.json").read_text())
    assert scores["patient_score"] is scores["volume_above_threshold_ml"] is scores["alarm"] is None
    assert (scores["slices_counted"], scores["slices_with_brain"]) == (0, n) and note in scores["notes"]
    assert not (tmp_path / "out" / "anna" / "mask.nii.gz").exists()
    assert top_line(scores) == f"no patient score; 0 of {n} slices with brain count; no mask"
    page = (tmp_path / "out" / "anna" / "report.html").read_text(encoding="utf-8")
    assert "<dt>Patient score</dt><dd><b>none</b>" in page and f"<b>0 of {n}</b>" in page and note in page
    write_cohort(tmp_path / "out", [Outcome("anna", scores)])
    (row,) = csv.DictReader((tmp_path / "out" / "predictions.csv").open(encoding="utf-8"))
    assert row["patient_score"] == row["volume_above_threshold_ml"] == row["clusters"] == ""
    assert (row["slices_counted"], row["slices_with_brain"]) == ("0", str(n))
    assert note in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_slices_that_do_not_count_are_numbered(predictor: Any, flair: Any) -> None:
    few = predictor.predict({"flair": ball(flair, radius_of(predictor, 0.05), slice(8, None))})
    whole = predictor.predict({"flair": flair})
    assert 0 < few.n_counted < few.n_brain - few.n_counted
    without = few.n_brain - few.n_counted
    assert any(note.startswith(f"{without} of {few.n_brain} slices with brain do not count") for note in few.notes)
    assert not any("do not count" in note for note in whole.notes)
    scores = whole.as_json()
    assert f"; {whole.n_counted} of {whole.n_brain} slices with brain count; " in top_line(scores)


@pytest.mark.parametrize("air", [0, 30])
def test_a_brain_below_one_hundredth_of_the_field_is_not_called_none(air: int, predictor: Any, flair: Any) -> None:
    small = cropped(ball(flair, radius_of(predictor, 0.007)))
    image = padded(small, (air, air), (air, air), (0, 0))
    with pytest.raises(
        UserError, match=r"has brain on at most 0\.\d+ % of the training field in any slice, and slices"
    ):
        predictor.predict({"flair": image})


def test_slices_that_count_without_a_threshold_are_named(
    predictor: Any, flair: Any, tiny_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    t1 = nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "t1")).slicer[:, :, :12]
    monkeypatch.delitem(predictor.cell.normals.subsets, "F")
    found = predictor.predict({"flair": flair, "t1": t1})
    bare = sum(item.counted and item.subset == "F" for item in found.slices)
    assert bare and found.mask is not None
    sentence = f"The mask is incomplete: {bare} of {found.n_counted} slices that count were scored with F, which has no"
    assert any(note.startswith(sentence) for note in found.notes)
