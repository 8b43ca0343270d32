"""NIfTI files as other programs write them: units, pairs, trailing axes, and headers with impossible fields."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import LPS, anatomy, make_tree, path_of, save

from anyadbench.data.store.build import prepare
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.verify import verify
from anyadbench.data.trees.volume import read_channels, read_labels, read_volume, volume_of
from anyadbench.errors import UserError

nifti1: Any = nibabel.nifti1
SHAPE = (10, 8, 6)
ARRAY = anatomy(1, SHAPE, "t1")


def changed(path: Path, kind: str, at: int, *values: float) -> Path:
    """Overwrite a field of a plain file's header."""
    data = bytearray(path.read_bytes())
    struct.pack_into(f"<{len(values)}{kind}", data, at, *values)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("mm", 1.0), ("micron", 1e3), ("unknown", 1.0)])
def test_lengths_are_millimetres_whatever_the_unit(tmp_path: Path, unit: str, factor: float) -> None:
    affine = LPS.copy()
    affine[:3] *= factor
    image = nifti1.Nifti1Image(ARRAY, affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "a.nii.gz")
    for volume in (read_volume(tmp_path / "a.nii.gz"), volume_of(image, "image")):
        np.testing.assert_allclose(volume.affine, LPS, atol=1e-5)
        np.testing.assert_allclose(volume.native_affine, LPS, atol=1e-5)
        assert volume.spacing == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(("unit", "size"), [(1, "1000 x 1000 x 1000"), (3, "0.001 x 0.001 x 0.001")])
def test_a_unit_that_makes_impossible_voxels_is_refused(tmp_path: Path, unit: int, size: str) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "B", 123, unit)
    with pytest.raises(UserError, match=rf"a\.nii has voxels of {size} mm; correct the unit or the voxel size"):
        read_volume(path)


def test_a_unit_that_nifti_does_not_have_is_refused(tmp_path: Path) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "B", 123, 5)
    with pytest.raises(UserError, match=r"has an unknown unit of length in its header \(xyzt_units 5\); fix"):
        read_volume(path)


@pytest.mark.parametrize("more", [(1,), (1, 1), (1, 1, 1)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
def test_one_volume_with_more_axes_is_one_volume(tmp_path: Path, more: tuple[int, ...], name: str) -> None:
    array = ARRAY.reshape(*SHAPE, *more)
    kind = nifti1.Nifti1Pair if name.endswith("hdr") else nifti1.Nifti1Image
    kind(array, LPS).to_filename(tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)
    np.testing.assert_array_equal(volume_of(nifti1.Nifti1Image(array, LPS), "image").array, ARRAY)
    kind((array > 0).astype(np.uint8), LPS).to_filename(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name).array, ARRAY > 0)


@pytest.mark.parametrize("shape", [(*SHAPE, 2), (*SHAPE, 1, 2)])
def test_channels_are_read_from_the_fourth_axis_or_from_the_fifth_as_itk_writes_them(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = save(tmp_path / "a.nii", np.stack([ARRAY, 2 * ARRAY], axis=-1).reshape(shape))
    np.testing.assert_array_equal(read_channels(path, ("t1", "t2"))["t2"].array, 2 * ARRAY)
    with pytest.raises(UserError, match="where a volume has 3; save one 3D volume per file"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_a_pair_is_read_from_either_file(tmp_path: Path, name: str) -> None:
    nifti1.Nifti1Pair(ARRAY, LPS).to_filename(tmp_path / "a.hdr")
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)
    for path in (tmp_path / "a.hdr", tmp_path / "a.img"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(read_volume(tmp_path / f"{name}.gz").array, ARRAY)


@pytest.mark.parametrize(("given", "lacking"), [("a.hdr", ".img"), ("a.img", ".hdr")])
def test_half_a_pair_is_refused(tmp_path: Path, given: str, lacking: str) -> None:
    nifti1.Nifti1Pair(ARRAY, LPS).to_filename(tmp_path / "a.hdr")
    (tmp_path / f"a{lacking}").unlink()
    sentence = rf"of a pair whose \{lacking} file is missing; give both, in one folder"
    with pytest.raises(UserError, match=sentence):
        read_volume(tmp_path / given)


def test_a_tree_of_pairs_is_prepared_and_a_changed_image_makes_another_store(tmp_path: Path) -> None:
    tree, layout = make_tree("brats2018", tmp_path / "tree", 2), get_layout("brats2018")
    single = prepare(tree, layout, tmp_path / "single")
    for path in sorted(tree.rglob("*.nii.gz")):
        image = nibabel.loadsave.load(path)  # type: ignore[attr-defined]
        nifti1.Nifti1Pair(np.asarray(image.dataobj), image.affine).to_filename(str(path).replace(".nii.gz", ".hdr"))
        path.unlink()
    assert verify(tree, layout) == []
    pairs = prepare(tree, layout, tmp_path / "pairs")
    np.testing.assert_array_equal(pairs.images, single.images)
    image = next(tree.rglob("*flair.img"))
    data = bytearray(image.read_bytes())
    data[-2000:] = bytes(2000)
    image.write_bytes(data)
    with pytest.raises(UserError, match="is a store of other files"):
        prepare(tree, layout, tmp_path / "pairs")


@pytest.mark.parametrize("offset", [0.0, 16.0, -352.0, np.nan, np.inf, 1e30, 352.5])
def test_an_impossible_offset_is_read_where_the_values_can_only_be_in_one_place(tmp_path: Path, offset: float) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "f", 108, offset)
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(UserError, match=r"has an impossible place of its values in its header \(vox_offset .*\); fix"):
        read_volume(path)


@pytest.mark.parametrize("steps", [(0, 1, 1), (np.nan, 1, 1), (1, np.inf, 1)])
def test_voxels_without_a_size_matter_only_without_an_sform(tmp_path: Path, steps: tuple[float, ...]) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "f", 80, *steps)
    np.testing.assert_allclose(read_volume(path).affine, LPS, atol=1e-6)
    image = nifti1.Nifti1Image(ARRAY, None)
    image.set_qform(LPS, code=1)
    image.to_filename(tmp_path / "q.nii")
    with pytest.raises(UserError, match=r"q\.nii has voxels without a size in its header \(pixdim is 0 or NaN\); fix"):
        read_volume(changed(tmp_path / "q.nii", "f", 80, *steps))


def test_a_negative_voxel_size_is_reported_with_its_file_and_nothing_else_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tree = make_tree("brats2018", tmp_path, 2, ending=".nii")
    path = changed(path_of("brats2018", tree, 1, "flair", ".nii"), "f", 80, -4.5, 1.0, 1.0)
    (problem,) = verify(tree, get_layout("brats2018"))
    assert problem.severity == "warning" and problem.file.endswith(path.name)
    assert "has a negative voxel size in its header (pixdim), whose sign is ignored" in problem.sentence
    assert caplog.records == [] and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("kind", "at", "value"), [("h", 72, 99), ("h", 252, -7), ("f", 112, np.nan), ("B", 39, 200)])
def test_what_nibabel_says_about_a_header_is_not_shown(
    tmp_path: Path, kind: str, at: int, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    np.testing.assert_array_equal(read_volume(changed(save(tmp_path / "a.nii", ARRAY), kind, at, value)).array, ARRAY)
    assert caplog.records == []


def test_what_nibabel_says_to_others_is_still_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "f", 80, -4.5)
    nibabel.loadsave.load(path)  # type: ignore[attr-defined]
    assert "pixdim" in caplog.text


def test_a_dicom_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(400))
    with pytest.raises(UserError, match="IM0001 is a DICOM file, not a NIfTI image; give the folder of its series"):
        read_volume(tmp_path / "IM0001")


def test_nan_as_background_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.where(ARRAY > 0, ARRAY, np.nan).astype(np.float32))
    with pytest.raises(UserError, match="NaN or infinite, its background among them; set the background to 0"):
        read_volume(path)
