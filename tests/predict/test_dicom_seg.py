"""The mask as a DICOM segmentation: voxel by voxel, on the instances of its series, without the patient's text."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixture import write_enhanced, write_series, write_slice
from viewer_fixture import a_prediction

import anyadbench
from anyadbench.cli import main
from anyadbench.errors import UserError
from anyadbench.predict.inputs import read_inputs
from anyadbench.predict.prepare.pipeline import prepare_inputs
from anyadbench.predict.prepare.plan import parse_plan
from anyadbench.predict.segments import dicom_seg

IDS = {"0010|0010": "JANE7DOE", "0010|0020": "ID7DOE", "0010|0030": "19470707", "0010|0040": "F", "0020|0010": "STUDY7",
       "0008|0050": "ACC7", "0008|0020": "20070707", "0008|0090": "DOCTOR7"}  # fmt: skip
TEXTS = {"0008|0080": "HOSPITAL7", "0008|1070": "OPERATOR7", "0010|4000": "COMMENT7", "0008|103e": "DESCRIPTION7",
         "0020|4000": "IMAGE7", "0008|1030": "STUDYTEXT7"}  # fmt: skip
FRAME = {"0020|0052": "1.2.3.9"}
"""The frame of reference, which SimpleITK does not write by itself."""

PLANTED = [text for text in [*IDS.values(), *TEXTS.values()] if len(text) > 1]


@pytest.fixture
def pydicom() -> Any:
    pytest.importorskip("highdicom", reason="needs the extra dicom-seg (highdicom)")
    return pytest.importorskip("pydicom")


def predicted(path: Path) -> Any:
    """Return a prediction on a DICOM series whose mask is its brightest part."""
    inputs = read_inputs({"flair": path}, None)
    prepared = prepare_inputs(inputs, parse_plan("none"))
    volume = inputs[0].volume
    array = np.ascontiguousarray(volume.to_native(volume.array))
    mask = array > np.percentile(array[array > 0], 90)
    return a_prediction(
        map=array.astype(np.float32), mask=mask, affine=volume.native_affine, preparation=prepared,
        inputs={"flair": {"file": str(path)}}, first="flair", volumes={"flair": volume},
    )  # fmt: skip


def positions(read: Any) -> dict[tuple[float, ...], np.ndarray]:
    """Return the frames of a segmentation by their positions."""
    pixels = np.atleast_3d(read.pixel_array)
    frames = pixels if pixels.ndim == 3 else pixels[None]
    return {
        tuple(round(float(v), 3) for v in item.PlanePositionSequence[0].ImagePositionPatient): frame
        for item, frame in zip(read.PerFrameFunctionalGroupsSequence, frames, strict=True)
    }


def test_the_segmentation_lies_on_its_series_voxel_by_voxel(pydicom: Any, tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "series", "1.2.3.4", more=IDS | TEXTS | FRAME)
    for number, path in enumerate(sorted((tmp_path / "series").iterdir())):  # names do not follow the positions
        path.rename(path.with_name(f"{number * 7 % 20:02d}-{number}.dcm"))
    prediction = predicted(tmp_path / "series")
    data = dicom_seg.segmentations(prediction)["flair"]
    read = pydicom.dcmread(BytesIO(data))
    frames, reference = positions(read), prediction.affine * np.array([[-1], [-1], [1], [1]])
    seen = 0
    for k in range(prediction.mask.shape[2]):
        place = tuple(round(float(v), 3) for v in reference @ (0, 0, k, 1))[:3]
        wanted = prediction.mask[:, :, k].T
        seen += place in frames
        np.testing.assert_array_equal(frames.get(place, np.zeros_like(wanted)), wanted)
    assert seen == len(frames) == int(prediction.mask.any(axis=(0, 1)).sum()) > 3
    shared = read.SharedFunctionalGroupsSequence[0]
    wide, high = source.header.get_zooms()[:2]
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == pytest.approx([high, wide])
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "series").iterdir()}
    named = {item.ReferencedSOPInstanceUID for item in read.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == instances and read.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.4"
    for item in read.PerFrameFunctionalGroupsSequence:  # every frame refers to the slice at its own position
        uid = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        own = next(f for f in map(pydicom.dcmread, (tmp_path / "series").iterdir()) if f.SOPInstanceUID == uid)
        assert own.ImagePositionPatient == pytest.approx(item.PlanePositionSequence[0].ImagePositionPatient, abs=1e-3)
    assert not [text for text in PLANTED if text.encode() in data]
    again = pydicom.dcmread(BytesIO(dicom_seg.segmentations(prediction)["flair"]))
    assert (again.SOPInstanceUID, again.SeriesInstanceUID) == (read.SOPInstanceUID, read.SeriesInstanceUID)


def test_ids_are_kept_only_on_request(pydicom: Any, tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "series", "1.2.3.4", more=IDS | TEXTS | FRAME)
    prediction = predicted(tmp_path / "series")
    without = pydicom.dcmread(BytesIO(dicom_seg.segmentations(prediction)["flair"]))
    assert not any(str(without.get(name, "")) for name in dicom_seg.IDS)
    data = dicom_seg.segmentations(prediction, keep_ids=True)["flair"]
    kept = pydicom.dcmread(BytesIO(data))
    assert (kept.PatientName, kept.PatientID, kept.AccessionNumber) == ("JANE7DOE", "ID7DOE", "ACC7")
    assert not [text for text in TEXTS.values() if text.encode() in data]


def check_frames(pydicom: Any, prediction: Any, *, step: float) -> None:
    """Check that each frame of a segmentation is the mask at its place, in slices ``step`` mm apart."""
    frames = positions(pydicom.dcmread(BytesIO(dicom_seg.segmentations(prediction)["flair"])))
    assert len(frames) > 3
    for k in range(prediction.mask.shape[2]):
        wanted = prediction.mask[:, :, k].T
        np.testing.assert_array_equal(frames.get((-20.0, -30.0, step * k), np.zeros_like(wanted)), wanted)


def test_frames_of_an_enhanced_file_keep_their_order(pydicom: Any, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(1, 1000, (7, 6, 5))
    write_enhanced(tmp_path / "e.dcm", stack, [3, 0, 6, 2, 5, 1, 4], reference="1.2.9")
    prediction = predicted(tmp_path)
    check_frames(pydicom, prediction, step=2.0)


@pytest.mark.parametrize("implicit", [True, False])
def test_a_series_without_preambles_gets_its_segmentation(pydicom: Any, tmp_path: Path, implicit: bool) -> None:
    stack = np.random.default_rng(0).integers(1, 1000, (5, 8, 7)).astype("<u2")
    for k in range(5):
        path, more = tmp_path / f"{k}.dcm", {0x00200052: (b"UI", b"1.2.9\0")}
        write_slice(path, stack[k], 4.0 * k, more, preamble=False, implicit=implicit)
    prediction = predicted(tmp_path)
    check_frames(pydicom, prediction, step=4.0)


def test_a_series_without_a_frame_of_reference_is_one_sentence(pydicom: Any, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e.dcm", np.random.default_rng(0).integers(1, 1000, (7, 6, 5)), [0, 1, 2, 3, 4, 5, 6])
    with pytest.raises(UserError, match="has no frame of reference .* export it again, or leave --dicom-seg out"):
        dicom_seg.segmentations(predicted(tmp_path))


def test_the_command_writes_it_beside_the_nifti_mask(
    pydicom: Any, trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "series", "1.2.3.4", more=IDS | TEXTS | FRAME)
    out = tmp_path / "out"
    cell = str(trained_cells["pixelstats"])
    scan = ["--flair", str(tmp_path / "series"), "--threshold", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--cell", cell, "--out", str(out), *scan, "--dicom-seg"])
    assert ended.value.code in (0, None)
    frames = positions(pydicom.dcmread(out / "mask_flair.dcm"))
    mask = np.asarray(nibabel.load(out / "mask.nii.gz").dataobj)
    assert sum(int(frame.sum()) for frame in frames.values()) == int(mask.sum()) > 0
    assert not [text for text in PLANTED if text.encode() in (out / "mask_flair.dcm").read_bytes()]
    anyadbench.load(cell).predict({"flair": tmp_path / "series"}).save(out)
    assert not (out / "mask_flair.dcm").exists()  # of the earlier prediction
    assert json.loads((out / "prediction.json").read_text())["patient"] == "patient"


def test_what_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="none of the scans is one; give a DICOM series, or leave it out"):
        dicom_seg.check_seg({"flair": tmp_path / "f.nii.gz", "t1": np.zeros(3)})
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs highdicom: run 'pip install anyadbench\[dicom-seg\]', or leave it out"):
        dicom_seg.check_seg({"flair": tmp_path})
    with pytest.raises(SystemExit):
        main(["predict", "--cell", "c", "--out", str(tmp_path / "o"), "--flair", "f.nii", "--dicom-ids"])
    assert "--dicom-ids needs --dicom-seg, whose files would keep the ids; give both" in capsys.readouterr().err
