"""NIfTI files as other programs write them: units, pairs, trailing axes, and headers with impossible fields."""

from __future__ import annotations

import gzip
import struct
import warnings
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


@pytest.mark.parametrize("offset", [0.0, 1.0, 16.0, -352.0, np.nan, np.inf, 352.5])
def test_an_impossible_offset_is_noted_where_the_values_can_only_be_in_one_place(tmp_path: Path, offset: float) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "f", 108, offset)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    note = (
        f"has an impossible place of its values in its header (vox_offset {offset:g}), which can only begin at byte 352"
    )
    assert volume.notes == (note,)
    path.write_bytes(path.read_bytes() + bytes(100))
    with pytest.raises(UserError, match=r"has an impossible place of its values in its header \(vox_offset .*\); fix"):
        read_volume(path)


@pytest.mark.parametrize(
    ("offset", "sentence"),
    [
        (353, r"ends early \(959 bytes of values where its header describes 960\)"),
        (1e9, r"has a place of its values in its header \(vox_offset 1e\+09\) beyond its end \(1312 bytes\)"),
        (1e30, r"beyond its end \(1312 bytes\); copy or download it again"),
    ],
)
def test_a_possible_offset_that_the_file_is_too_short_for_is_refused(
    tmp_path: Path, offset: float, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        read_volume(changed(save(tmp_path / "a.nii", ARRAY), "f", 108, offset))


def extended(path: Path, extension: bytes, offset: float) -> Path:
    """Put an extension between the header and the values of a plain file."""
    data = path.read_bytes()
    path.write_bytes(data[:348] + b"\1\0\0\0" + extension + data[352:])
    return changed(path, "f", 108, offset)


@pytest.mark.parametrize("size", [17, 16, 9, 0, -5, 2**31 - 1])
def test_extensions_do_not_matter_and_nibabel_says_nothing_about_them(tmp_path: Path, size: int) -> None:
    path = extended(save(tmp_path / "a.nii", ARRAY), struct.pack("<ii", size, 6) + bytes(24), 384)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.notes == ()


@pytest.mark.parametrize("length", [4, 200, 347])
def test_a_file_that_ends_inside_its_header_is_named(tmp_path: Path, length: int) -> None:
    path = save(tmp_path / "a.nii", ARRAY)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        UserError, match=rf"ends early \({length} bytes, fewer than its header of 348\); copy or download"
    ):
        read_volume(path)


def test_an_impossible_offset_beside_an_extension_is_refused(tmp_path: Path) -> None:
    path = extended(save(tmp_path / "a.nii", ARRAY), struct.pack("<ii", 16, 6) + bytes(8), 0)
    with pytest.raises(UserError, match=r"has an impossible place of its values in its header \(vox_offset 0\); fix"):
        read_volume(path)
    path.write_bytes(path.read_bytes()[:-16])  # which leaves as many bytes as a header and the values
    with pytest.raises(UserError, match="has an impossible place of its values"):
        read_volume(path)


@pytest.mark.parametrize(
    ("kind", "at", "values", "note"),
    [
        ("h", 72, (99,), "has 99 bits per value in its header (bitpix) where its type has 16"),
        ("h", 254, (77,), ""),
        ("h", 252, (-7,), "has an unknown qform_code in its header (-7), so that its qform is not used"),
        ("f", 112, (np.nan,), "has NaN as scale of its values in its header (scl_slope), which are read as stored"),
        ("f", 112, (0.0, np.nan), ""),
        ("f", 80, (0, 1, 1), "has voxels without a size in its header (pixdim is 0 or NaN), which its sform gives"),
        ("B", 345, (ord("i"),), "is one file, though its header says a pair (magic ni1)"),
    ],
)
def test_each_repair_is_noted(tmp_path: Path, kind: str, at: int, values: tuple[float, ...], note: str) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), kind, at, *values)
    if at == 254:
        with pytest.raises(UserError, match="neither sform nor qform is set"):
            read_volume(path)
        return
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.notes == ((note,) if note else ())


def test_a_pair_that_calls_itself_one_file_and_bytes_after_the_values_are_noted(tmp_path: Path) -> None:
    nifti1.Nifti1Pair(ARRAY, LPS).to_filename(tmp_path / "a.hdr")
    changed(changed(tmp_path / "a.hdr", "B", 345, ord("+")), "f", 108, 352)
    assert read_volume(tmp_path / "a.hdr").notes == (
        "is a pair, though its header says one file (magic n+1)",
        "has an impossible place of its values in its header (vox_offset 352), which can only begin at byte 0",
    )
    path = save(tmp_path / "b.nii", ARRAY)
    path.write_bytes(path.read_bytes() + bytes(7))
    assert read_volume(path).notes == ("has 7 bytes after its values, which are not read",)


@pytest.mark.parametrize("axes", [0, 8, -1, 255])
def test_an_impossible_number_of_axes_is_named(tmp_path: Path, axes: int) -> None:
    path = changed(save(tmp_path / "a.nii", ARRAY), "h", 40, axes)
    with pytest.raises(UserError, match=rf"has an impossible number of axes in its header \(dim\[0\] is {axes}\); fix"):
        read_volume(path)


@pytest.mark.parametrize(
    ("kind", "at", "values", "sentence"),
    [
        ("h", 42, (0,), r"has an axis without length in its header \(dim \(0, 8, 6\)\); fix"),
        ("h", 44, (-3,), r"has an axis without length in its header \(dim \(10, -3, 6\)\); fix"),
        ("h", 42, (32767,) * 3, r"ends early \(960 bytes of values where its header describes"),
        ("h", 70, (7,), r"has an unknown type of values in its header \(datatype 7\); fix"),
        ("h", 70, (0,), r"has an unknown type of values in its header \(datatype 0\); fix"),
        ("h", 70, (32,), r"holds no grey values \(type complex64, shape \(10, 8, 6\)\)"),
        ("h", 70, (1792,), r"holds no grey values \(type complex128"),
        ("h", 70, (128,), "holds no grey values"),
        ("h", 70, (2304,), "holds no grey values"),
        ("h", 70, (2, 16), r"has a type \(datatype\) and bits per value \(bitpix\) that contradict each other; fix"),
        (
            "f",
            112,
            (np.inf,),
            r"has an impossible scale of its values in its header \(scl_slope inf, scl_inter 0\); fix",
        ),
        ("f", 112, (2, np.nan), r"has an impossible scale of its values in its header \(scl_slope 2, scl_inter nan\)"),
        ("f", 284, (np.nan,), r"holds NaN or infinity in the sform of its header \(srow\); fix"),
        ("B", 344, (0,), r"does not define its orientation \(its header is Analyze 7.5, not NIfTI\)"),
    ],
)
def test_a_field_without_a_plain_meaning_is_the_cause(
    tmp_path: Path, kind: str, at: int, values: tuple[float, ...], sentence: str
) -> None:
    with pytest.raises(UserError, match=rf"a\.nii {sentence}"):
        read_volume(changed(save(tmp_path / "a.nii", ARRAY), kind, at, *values))


def with_qform(path: Path, qform: np.ndarray, codes: tuple[int, int] = (1, 1)) -> Path:
    image = nifti1.Nifti1Image(ARRAY, None)
    image.set_sform(LPS, code=codes[0])
    image.set_qform(qform, code=codes[1])
    image.to_filename(path)
    return path


@pytest.mark.parametrize(
    ("values", "what"), [((np.nan,), "NaN or infinity"), ((1, 1, 1), "an impossible rotation"), ((np.inf,), "NaN")]
)
def test_a_broken_qform_is_named_only_where_it_counts(tmp_path: Path, values: tuple[float, ...], what: str) -> None:
    path = changed(with_qform(tmp_path / "a.nii", LPS), "f", 256, *values)
    np.testing.assert_allclose(read_volume(path).affine, LPS)
    with pytest.raises(UserError, match=rf"holds {what}.* in the qform of its header \(quatern, qoffset\); fix"):
        read_volume(changed(path, "h", 254, 0))


@pytest.mark.parametrize(("handedness", "noted"), [(0, False), (1, False), (7, True), (np.nan, True)])
def test_an_impossible_handedness_is_noted_only_where_the_qform_counts(
    tmp_path: Path, handedness: float, noted: bool
) -> None:
    path = changed(with_qform(tmp_path / "a.nii", LPS), "f", 76, handedness)
    assert read_volume(path).notes == ()
    note = f"has {handedness:g} as handedness in its header (pixdim[0]), which counts as 1"
    assert read_volume(changed(path, "h", 254, 0)).notes == ((note,) if noted else ())


def test_an_sform_and_a_qform_that_contradict_each_other_are_noted(tmp_path: Path) -> None:
    assert read_volume(with_qform(tmp_path / "a.nii", LPS)).notes == ()
    moved, mirrored = LPS.copy(), LPS.copy()
    moved[0, 3] += 5
    mirrored[0, 0] *= -1
    assert read_volume(with_qform(tmp_path / "a.nii", moved, (4, 1))).notes == ()  # a template has its own place
    (note,) = read_volume(with_qform(tmp_path / "a.nii", moved)).notes
    assert note == "has a qform in its header that is up to 5 mm away from its sform, and the sform counts"
    (note,) = read_volume(with_qform(tmp_path / "a.nii", mirrored, (4, 1))).notes
    assert note == "has a qform in its header that is mirrored to its sform, and the sform counts"


def test_fields_of_nifti_2_and_of_the_other_byte_order_are_checked(tmp_path: Path) -> None:
    nibabel.nifti2.Nifti2Image(ARRAY, LPS).to_filename(tmp_path / "a.nii")  # type: ignore[no-untyped-call]
    (note,) = read_volume(changed(tmp_path / "a.nii", "q", 168, 3)).notes
    assert "(vox_offset 3), which can only begin at byte 544" in note
    big = nifti1.Nifti1Image(ARRAY.astype(">i2"), LPS, nifti1.Nifti1Header(endianness=">"))
    big.to_filename(tmp_path / "b.nii")
    data = bytearray((tmp_path / "b.nii").read_bytes())
    struct.pack_into(">h", data, 40, 8)
    (tmp_path / "b.nii").write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"\(dim\[0\] is 8\)"):
        read_volume(tmp_path / "b.nii")


@pytest.mark.parametrize(("header", "image"), [("E.Hdr", "E.Img"), ("E.HDR", "e.img"), ("E.hdr.gz", "E.IMG.GZ")])
def test_a_pair_is_found_whatever_the_case_of_its_names(tmp_path: Path, header: str, image: str) -> None:
    nifti1.Nifti1Pair(ARRAY, LPS).to_filename(tmp_path / "a.hdr")
    for old, new in (("a.hdr", header), ("a.img", image)):
        data = (tmp_path / old).read_bytes()
        (tmp_path / new).write_bytes(gzip.compress(data) if new.lower().endswith(".gz") else data)
    for name in (header, image):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)


@pytest.mark.parametrize("cut", [3, 100])
def test_the_second_member_of_a_packed_file_may_not_end_early(tmp_path: Path, cut: int) -> None:
    data = save(tmp_path / "a.nii", ARRAY).read_bytes()
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(data[:700]) + gzip.compress(data[700:]))
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"a\.nii\.gz is damaged"):
        read_volume(path)


def test_what_is_repaired_in_a_segmentation_is_a_warning(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 1, ending=".nii")
    path = changed(path_of("brats2018", tree, 1, "seg", ".nii"), "f", 108, 0)
    (problem,) = verify(tree, get_layout("brats2018"))
    assert problem.severity == "warning" and problem.file.endswith(path.name) and "(vox_offset 0)" in problem.cause


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
