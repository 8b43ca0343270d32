"""DICOM series as inputs of prediction."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixture import LPS, write_enhanced, write_series

import anyadbench
from anyadbench.data.trees.readers.dicom_header import read_header
from anyadbench.data.trees.volume import read_volume, volume_of
from anyadbench.errors import UserError
from anyadbench.predict.dicom import read_series, series_stack
from anyadbench.predict.inputs import read_input
from anyadbench.predict.series.stack import Place, stack_of


def test_a_series_is_predicted_as_its_nifti_file_is(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    path = tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz"
    source = nibabel.load(path)
    write_series(source, tmp_path / "series", "1.2.3.4")
    predictor = anyadbench.load(trained_cells["pixelstats"])
    plain, found = predictor.predict({"flair": path}), predictor.predict({"flair": tmp_path / "series"})
    np.testing.assert_array_equal(found.grid_maps, plain.grid_maps)
    found.save(tmp_path / "out")
    written, own = read_volume(tmp_path / "out" / "anomaly.nii.gz"), read_volume(path)
    np.testing.assert_allclose(written.affine, own.affine, atol=1e-4)
    assert written.shape == own.shape


def test_folders_without_one_series_are_refused(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "two", "1.2.3.4")
    write_series(source, tmp_path / "two", "1.2.3.5")
    with pytest.raises(UserError, match="contains 2 DICOM series, but one is needed; give the folder of one series"):
        read_series(tmp_path / "two")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="contains no DICOM series, but one is needed"):
        read_series(tmp_path / "none")


def test_a_series_is_put_in_order_by_its_positions_whatever_its_names(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "plain", "1.2.3.4")
    shutil.copytree(tmp_path / "plain", tmp_path / "mixed")
    for number, path in enumerate(sorted((tmp_path / "mixed").iterdir())):
        path.rename(path.with_name(f"{number * 7 % 20:02d}-{number}.dcm"))
    plain, mixed = read_series(tmp_path / "plain"), read_series(tmp_path / "mixed")
    np.testing.assert_array_equal(np.asarray(mixed.dataobj), np.asarray(plain.dataobj))
    np.testing.assert_allclose(mixed.affine, plain.affine)


def test_a_series_that_is_not_one_even_stack_is_refused(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "gap", "1.2.3.4")
    for k in (8, 9):
        (tmp_path / "gap" / f"1.2.3.4_{k:03d}.dcm").unlink()
    sentence = "gap has two neighbouring slices 22.5 mm apart, while others are 7.5 mm apart; copy the series again"
    with pytest.raises(UserError, match=sentence):
        read_series(tmp_path / "gap")
    write_series(source, tmp_path / "twice", "1.2.3.4")
    write_series(source, tmp_path / "twice", "1.2.3.4", start=100)
    sentence = f"twice contains {source.shape[2]} slices at the position of another slice"
    with pytest.raises(UserError, match=sentence):
        read_series(tmp_path / "twice")
    write_series(source, tmp_path / "between", "1.2.3.4")
    write_series(source, tmp_path / "between", "1.2.3.4", start=100, shift=2.0)
    with pytest.raises(UserError, match="between has two neighbouring slices .* mm apart, while others are"):
        read_series(tmp_path / "between")
    write_series(source, tmp_path / "leaning", "1.2.3.4", jump=3.0)
    with pytest.raises(UserError, match="leaning has slices that are shifted sideways relative to each other"):
        read_series(tmp_path / "leaning")
    write_series(source, tmp_path / "planes", "1.2.3.4")
    write_series(source, tmp_path / "planes", "1.2.3.4", start=100, turn=True)
    with pytest.raises(UserError, match="planes holds slices of several directions"):
        read_series(tmp_path / "planes")


def test_slices_without_a_position_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has slices without a position"):
        stack_of(tmp_path, [Place("0\\0\\0", "1\\0\\0\\0\\1\\0"), Place("", "1\\0\\0\\0\\1\\0")])


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"reading DICOM needs SimpleITK: run 'pip install anyadbench\[dicom\]', or"):
        read_series(tmp_path)


STACK = np.random.default_rng(0).integers(0, 1000, (7, 6, 5))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 2, 5, 1, 4]])
def test_frames_of_an_enhanced_file_lie_where_their_positions_say(tmp_path: Path, order: list[int]) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    write_enhanced(folder / "e.dcm", STACK, order)
    for name in (".DS_Store", "._e.dcm", "Thumbs.db"):
        (folder / name).write_bytes(b"junk")
    volume = volume_of(read_series(folder), "series")
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), STACK)
    assert volume.spacing == pytest.approx((0.5, 1.5, 2.0))
    np.testing.assert_allclose(volume.affine @ (0, 0, 0, 1), (20, 30, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"slopes": ("1", "1", "2", "1", "1", "1", "1")}, "has frames with different rescale slopes or intercepts"),
        ({"gap": 3}, "has two neighbouring slices 4 mm apart, while others are 2 mm apart"),
        ({"step": 0.0}, "contains 6 slices at the position of another slice"),
    ],
)
def test_frames_that_are_not_one_stack_are_refused(tmp_path: Path, more: dict[str, Any], sentence: str) -> None:
    write_enhanced(tmp_path / "e.dcm", STACK, list(range(7)), **more)
    with pytest.raises(UserError, match=sentence):
        read_series(tmp_path)


def test_a_damaged_enhanced_file_is_one_sentence(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e.dcm", STACK, list(range(7)))
    data = (tmp_path / "e.dcm").read_bytes()
    at = data.index(struct.pack("<HH", 0x5200, 0x9230))
    (tmp_path / "e.dcm").write_bytes(data[: at + 12] + b"\1\2\3\4" + data[at + 16 :])
    with pytest.raises(UserError, match=r"contains the damaged file e\.dcm \(a sequence holds something other than"):
        read_series(tmp_path)


ROWS = struct.pack("<HH", 0x0028, 0x0010) + b"US"
PIXELS = struct.pack("<HH", 0x7FE0, 0x0010) + b"OW"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data[:-1], "claims more bytes than there are"),
        (lambda data: data.replace(ROWS + b"\2\0\6\0", ROWS + b"\2\0\xff\xff"), "pictures are larger than the pixels"),
        (lambda data: data.replace(ROWS, ROWS[:4] + b"XX"), "has no type that DICOM knows"),
        (lambda data: data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"), "stored in big endian"),
        (lambda data: data[:134], "contains no DICOM series"),
    ],
)
def test_a_length_that_does_not_fit_the_file_never_reaches_simpleitk(
    tmp_path: Path, change: Callable[[bytes], bytes], sentence: str
) -> None:
    write_enhanced(tmp_path / "e.dcm", STACK, list(range(7)))
    plain = (tmp_path / "e.dcm").read_bytes()
    (tmp_path / "e.dcm").write_bytes(change(plain))
    assert (tmp_path / "e.dcm").read_bytes() != plain
    with pytest.raises(UserError, match=sentence):
        read_series(tmp_path)


def test_reports_without_pixels_are_passed_over(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "e.dcm", STACK, list(range(7)))
    plain = (tmp_path / "e.dcm").read_bytes()
    (tmp_path / "report.dcm").write_bytes(plain[: plain.index(PIXELS)])
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert read_header(tmp_path / "report.dcm") is None
    assert read_series(tmp_path).shape == (5, 6, 7)


def test_a_mosaic_is_refused(tiny_phantom: Path, tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")
    image = itk.GetImageFromArray(np.ones((24, 24), np.int16))
    for tag, value in (("0008|0008", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"), ("0020|000e", "1.2.3"), ("0008|0060", "MR")):
        image.SetMetaData(tag, value)
    itk.WriteImage(image, str(tmp_path / "m.dcm"))
    with pytest.raises(UserError, match=r"contains the mosaic m\.dcm: all slices of a volume in one"):
        read_series(tmp_path)


def test_slices_without_a_direction_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has slices without a direction"):
        stack_of(tmp_path, [Place("0\\0\\0", "0\\0\\0\\0\\0\\0"), Place("0\\0\\1", "0\\0\\0\\0\\0\\0")])


def test_a_series_of_a_tilted_gantry_keeps_its_lean(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "straight", "1.2.3.4")
    write_series(source, tmp_path / "leaning", "1.2.3.4", lean=0.5)
    straight, leaning = (read_series(tmp_path / name) for name in ("straight", "leaning"))
    step = leaning.affine[:3, 2] - straight.affine[:3, 2]
    across = straight.affine[:3, 0] / np.linalg.norm(straight.affine[:3, 0])
    np.testing.assert_allclose(step, 0.5 * across, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(leaning.dataobj), np.asarray(straight.dataobj))


def test_dicom_of_another_modality_is_refused(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "ct", "1.2.3.4", more={"0008|0060": "CT"})
    with pytest.raises(UserError, match="ct is a series of the modality CT; give an MR series"):
        read_series(tmp_path / "ct")


def test_a_file_of_a_series_names_it_where_a_folder_has_several(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    other = nibabel.Nifti1Image(np.asarray(source.dataobj)[::-1], source.affine)
    write_series(source, tmp_path, "1.2.3.4")
    write_series(other, tmp_path, "1.2.3.5")
    first = read_series(tmp_path, tmp_path / "1.2.3.4_003.dcm")
    second = read_series(tmp_path, tmp_path / "1.2.3.5_007.dcm")
    np.testing.assert_array_equal(np.asarray(first.dataobj)[::-1], np.asarray(second.dataobj))
    assert np.asarray(first.dataobj).any()


@pytest.mark.parametrize(
    ("folder", "beside"), [(os.fsdecode(b"caf\xe9"), "notes.txt"), ("study", os.fsdecode(b"caf\xe9.txt"))]
)
def test_a_file_of_a_series_is_found_among_names_that_are_not_utf8(tmp_path: Path, folder: str, beside: str) -> None:
    source = nibabel.nifti1.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), LPS)
    other = nibabel.nifti1.Nifti1Image(np.ones((5, 4, 3), np.int16), LPS)
    write_series(source, tmp_path / "written", "1.2.3.4")  # SimpleITK aborts for a path that is not UTF-8
    write_series(other, tmp_path / "written", "1.2.3.5")
    (tmp_path / "written").rename(tmp_path / folder)
    (tmp_path / folder / beside).write_text("no DICOM")
    found = read_input("flair", tmp_path / folder / "1.2.3.4_001.dcm")
    np.testing.assert_array_equal(found.volume.array, np.asarray(source.dataobj))


def test_a_damaged_file_beside_a_series_is_left_out_with_a_note(tmp_path: Path) -> None:
    source = nibabel.nifti1.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), LPS)
    write_series(source, tmp_path, "1.2.3.4")
    write_series(source, tmp_path, "1.2.3.5")
    for number in (0, 2):
        other = tmp_path / f"1.2.3.5_00{number}.dcm"
        other.write_bytes(other.read_bytes()[:-8])
    wanted = tmp_path / "1.2.3.4_001.dcm"
    found = read_input("flair", wanted)
    np.testing.assert_array_equal(found.volume.array, np.asarray(source.dataobj))
    (note,) = found.notes
    assert note.startswith("lies beside the damaged file 1.2.3.5_000.dcm (its element 7fe0,0010 claims more bytes than")
    assert note.endswith(") and 1 more, whose series is unknown and which is left out")
    assert len(series_stack(wanted)[0]) == 3
    with pytest.raises(UserError, match=r"contains the damaged file 1\.2\.3\.5_002\.dcm .* copy the series again"):
        read_series(tmp_path, tmp_path / "1.2.3.5_002.dcm")
    with pytest.raises(UserError, match=r"contains the damaged file 1\.2\.3\.5_000\.dcm .* copy the series again"):
        read_series(tmp_path)
    write_series(nibabel.nifti1.Nifti1Image(np.ones((5, 4, 6), np.int16), LPS), tmp_path, "1.2.3.4")
    gap = tmp_path / "1.2.3.4_003.dcm"
    gap.write_bytes(gap.read_bytes()[:-8])
    with pytest.raises(UserError, match="has two neighbouring slices 2 mm apart, while others are 1 mm apart"):
        read_input("flair", wanted)
