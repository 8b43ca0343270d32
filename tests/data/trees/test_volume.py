"""Reading volumes: one orientation, and one sentence for each possible fault."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import LPS, anatomy, save, save_as, values_of

from anyadbench.data.trees.volume import (
    check_siblings,
    read_channels,
    read_labels,
    read_volume,
)
from anyadbench.errors import UserError

SHAPE = (10, 8, 6)
nifti1: Any = nibabel.nifti1


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "SPL", "AIR"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_every_orientation_gives_the_same_array(tmp_path: Path, axes: str, ending: str) -> None:
    lps = anatomy(1, SHAPE, "t1")
    volume = read_volume(save_as(tmp_path / f"a{ending}", lps, axes))
    np.testing.assert_array_equal(volume.array, lps)
    np.testing.assert_allclose(volume.affine, LPS)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "SPL"])
def test_a_map_goes_back_to_the_axes_of_its_file(tmp_path: Path, axes: str) -> None:
    path = save_as(tmp_path / "a.nii", anatomy(1, SHAPE, "t1"), axes)
    volume = read_volume(path)
    stored = values_of(path)
    np.testing.assert_array_equal(volume.to_native(volume.array), stored)


def test_axial_rows_run_to_posterior_and_columns_to_the_left(tmp_path: Path) -> None:
    ras = np.zeros(SHAPE, np.int16)
    ras[9, 7, 5] = 1  # the rightmost, most anterior, most superior voxel
    volume = read_volume(save(tmp_path / "a.nii", ras, np.eye(4)))
    assert volume.axial()[5][0, 0] == 1
    assert volume.axial().sum() == 1


def test_spacing_and_height_follow_the_affine(tmp_path: Path) -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[2, 3] = -7
    volume = read_volume(save(tmp_path / "a.nii", np.ones(SHAPE, np.int16), affine))
    assert volume.spacing == (2.0, 3.0, 4.0)
    assert volume.height_mm(2) == 1.0


def test_integers_stay_and_floats_become_single(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "a.nii", np.ones(SHAPE, np.int16))).array.dtype == np.int16
    assert read_volume(save(tmp_path / "b.nii", np.ones(SHAPE, np.float64))).array.dtype == np.float32


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    header = nifti1.Nifti1Header(endianness=">")
    image = nifti1.Nifti1Image(anatomy(1, SHAPE, "t1").astype(">i2"), LPS, header)
    image.to_filename(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, anatomy(1, SHAPE, "t1"))


def test_qform_alone_is_enough(tmp_path: Path) -> None:
    image = nifti1.Nifti1Image(anatomy(1, SHAPE, "t1"), None)
    image.set_qform(LPS, code=1)
    image.set_sform(None, code=0)
    image.to_filename(tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, LPS, atol=1e-6)


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_volume(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and text.endswith(".") and "; " in text
    return text


def test_missing_file(tmp_path: Path) -> None:
    assert "is missing; check the path" in complaint(tmp_path / "none.nii.gz")


def test_folder_instead_of_file(tmp_path: Path) -> None:
    assert "is a folder" in complaint(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"")
    assert "is empty (0 bytes); copy or download it again" in complaint(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("cut", [1, 4, 8, 300])
def test_gzip_that_ends_early(tmp_path: Path, cut: int) -> None:
    path = save(tmp_path / "a.nii.gz", anatomy(1, SHAPE, "t1"))
    path.write_bytes(path.read_bytes()[:-cut])
    assert "is damaged" in complaint(path)


def test_gzip_with_a_wrong_byte(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", anatomy(1, SHAPE, "t1"))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))
    assert "is damaged" in complaint(path)


def test_plain_nifti_that_ends_early(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", anatomy(1, SHAPE, "t1"))
    path.write_bytes(path.read_bytes()[:-100])
    assert "copy or download it again" in complaint(path)


@pytest.mark.parametrize("data", [b"no image", b"x" * 1000, gzip.compress(b"text, packed" * 100, mtime=0)])
def test_no_image_at_all(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.nii.gz").write_bytes(data)
    assert "is not a NIfTI image; give a .nii or .nii.gz file" in complaint(tmp_path / "a.nii.gz")


def test_four_axes(tmp_path: Path) -> None:
    text = complaint(save(tmp_path / "a.nii", np.ones((*SHAPE, 2), np.int16)))
    assert "has 4 axes (10, 8, 6, 2) where a volume has 3; save one 3D volume per file" in text


def test_two_axes(tmp_path: Path) -> None:
    assert "has 2 axes" in complaint(save(tmp_path / "a.nii", np.ones(SHAPE[:2], np.int16)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    array = np.ones(SHAPE)
    array[2, 3, 4] = value
    assert "holds 1 values that are NaN or infinite" in complaint(save(tmp_path / "a.nii", array))


def test_degenerate_affine(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.int16))
    data = bytearray(path.read_bytes())
    data[280:296] = bytes(16)  # the first row of the sform
    path.write_bytes(bytes(data))
    assert "degenerate affine" in complaint(path)


def test_no_orientation(tmp_path: Path) -> None:
    nifti1.Nifti1Image(np.ones(SHAPE, np.int16), None).to_filename(tmp_path / "a.nii")
    assert "neither sform nor qform is set" in complaint(tmp_path / "a.nii")


def test_colours_are_no_grey_values(tmp_path: Path) -> None:
    array = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "holds no grey values" in complaint(save(tmp_path / "a.nii", array))


def test_labels_near_whole_numbers_are_rounded(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.nii", np.full(SHAPE, 1.9995, np.float32))
    assert read_labels(path).array.dtype == np.uint8
    assert (read_labels(path).array == 2).all()


def test_fractional_labels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.nii", np.full(SHAPE, 1.9985, np.float32))
    with pytest.raises(UserError, match=r"seg\.nii holds fractional labels .*; resample it by nearest neighbour"):
        read_labels(path)


@pytest.mark.parametrize("value", [-1, 300])
def test_labels_that_are_an_image_are_refused(tmp_path: Path, value: int) -> None:
    path = save(tmp_path / "seg.nii", np.full(SHAPE, value, np.int16))
    with pytest.raises(UserError, match=r"holds labels from .*; give the segmentation, not an image"):
        read_labels(path)


def test_siblings_of_another_orientation_but_one_grid_agree(tmp_path: Path) -> None:
    lps = anatomy(1, SHAPE, "t1")
    first, other = (read_volume(save_as(tmp_path / f"{axes}.nii", lps, axes)) for axes in ("LPS", "RAS"))
    check_siblings(first, other)


def test_siblings_of_another_shape_are_refused(tmp_path: Path) -> None:
    first = read_volume(save(tmp_path / "a.nii", np.ones(SHAPE, np.int16)))
    other = read_volume(save(tmp_path / "b.nii", np.ones((10, 8, 7), np.int16)))
    with pytest.raises(UserError, match=r"b\.nii has the shape \(10, 8, 7\).*sibling a\.nii.*; resample it"):
        check_siblings(first, other)


@pytest.mark.parametrize(("shift", "fine"), [(0.0005, True), (0.002, False)])
def test_affines_are_compared_in_millimetres(tmp_path: Path, shift: float, fine: bool) -> None:
    affine = LPS.copy()
    affine[1, 3] += shift
    first = read_volume(save(tmp_path / "a.nii", np.ones(SHAPE, np.int16), LPS))
    other = read_volume(save(tmp_path / "b.nii", np.ones(SHAPE, np.int16), affine))
    if fine:
        check_siblings(first, other)
    else:
        with pytest.raises(UserError, match="has another affine than its sibling"):
            check_siblings(first, other)


def test_channels_of_a_4d_image_are_separated(tmp_path: Path) -> None:
    stack = np.stack([anatomy(1, SHAPE, kind) for kind in ("flair", "t2")], axis=-1)
    volumes = read_channels(save(tmp_path / "a.nii", stack), ("flair", "t2"))
    np.testing.assert_array_equal(volumes["t2"].array, stack[..., 1])


def test_a_3d_image_where_channels_belong_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.ones(SHAPE, np.int16))
    with pytest.raises(UserError, match=r"where its layout has 4 axes, the last of length 2"):
        read_channels(path, ("flair", "t2"))
