"""What the headers of a DICOM series say about its values and its geometry, where SimpleITK would guess."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_fixture import items, short, text, write_enhanced, write_slice

from anyadbench.data.trees.readers.dicom_header import read_header
from anyadbench.errors import UserError
from anyadbench.predict.dicom import read_series
from anyadbench.predict.inputs import is_dicom, read_input

pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")

SPACING, POSITION, ORIENTATION, THICKNESS = 0x00280030, 0x00200032, 0x00200037, 0x00180050
INTERCEPT, SLOPE, MEANING, FRAMES = 0x00281052, 0x00281053, 0x00280004, 0x00280008
PICTURE = np.arange(12, dtype="<u2").reshape(3, 4)

Changes = dict[int, Any]


def write(folder: Path, *changes: Changes, pictures: Any = None) -> Path:
    """Write one slice for each dictionary of changed elements, 2 mm apart."""
    for k, more in enumerate(changes):
        write_slice(folder / f"{k}.dcm", PICTURE if pictures is None else pictures[k], 2.0 * k, more)
    return folder


def values(folder: Path) -> np.ndarray:
    """Return the values of a series as ``slices rows columns``."""
    return np.asarray(read_series(folder).dataobj).transpose(2, 1, 0)


def test_the_geometry_is_that_of_the_headers(tmp_path: Path) -> None:
    image = read_series(write(tmp_path, {}, {}, {}))
    np.testing.assert_allclose(image.affine @ (1, 1, 1, 1), (19.5, 28.5, 2, 1))
    np.testing.assert_array_equal(values(tmp_path), np.stack([PICTURE] * 3))


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (None, "has slices without a pixel size (PixelSpacing); export the series again with its geometry."),
        (text(""), "has slices without a pixel size (PixelSpacing)"),
        (text("0\\0"), "has a pixel size that is not above 0 (PixelSpacing is 0 mm)"),
        (text("1\\-1"), "has a pixel size that is not above 0 (PixelSpacing is -1 mm)"),
        (text("nan\\nan"), "has a pixel size that is not two numbers (PixelSpacing is 'nan\\\\nan')"),
        (text("0,5\\0,5"), "has a pixel size that is not two numbers (PixelSpacing is '0,5\\\\0,5')"),
        (text("1e999\\1"), "has a pixel size that is not two numbers"),
        (text("1_0\\1"), "has a pixel size that is not two numbers"),
        (text("0.5"), "has a pixel size that is not two numbers (PixelSpacing is '0.5')"),
        (text("\x1b[2J\\1"), "(PixelSpacing is '\N{REPLACEMENT CHARACTER}[2J\\\\1')"),
    ],
)  # fmt: skip
def test_a_pixel_size_is_never_made_up(tmp_path: Path, stored: Any, sentence: str) -> None:
    for folder, changed in (("all", [{SPACING: stored}] * 3), ("one", [{}, {SPACING: stored}, {}])):
        with pytest.raises(UserError) as raised:
            read_series(write(tmp_path / folder, *changed))
        assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([{}, {SPACING: text("1.5\\0.6")}], "has slices of different pixel sizes (1.5 x 0.5 to 1.5 x 0.6 mm); give"),
        ([{POSITION: None}], "has slices without a position"),
        ([{ORIENTATION: text("1\\0\\0\\0\\1")}], "has slices without a position"),
        ([{THICKNESS: None}], "has one slice, and no thickness of it (SliceThickness); give the folder of a volume."),
        ([{ORIENTATION: text("1\\0\\0\\0.3\\0.9\\0")}] * 2, "rows and columns are not at right angles or of length 1"),
        ([{ORIENTATION: text("2\\0\\0\\0\\2\\0")}] * 2, "rows and columns are not at right angles or of length 1"),
        ([{POSITION: text("0\\0\\0,5")}, {}], "has slices without a position"),
        ([{FRAMES: text("2", b"IS"), 0x00280010: short(1)}], "0.dcm, which holds 2 frames without a place for each"),
        ([{FRAMES: text("0", b"IS")}], "the damaged file 0.dcm (its number of frames is damaged)"),
        ([{MEANING: text("MONOCHROME1", b"CS")}] * 2, "0.dcm, which holds values of which the lowest is the brightest"),
        ([{MEANING: text("PALETTE COLOR", b"CS")}] * 2, "0.dcm, which holds colours (Photometric"),
        ([{0x00283000: (b"as is", items(0x00283000, b""))}], "whose values go through a lookup table"),
    ],
)
def test_a_series_that_would_be_misread_is_one_sentence(tmp_path: Path, changes: list[Changes], sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        read_series(write(tmp_path, *changes))
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains pictures of different sizes \(3 x 4 and 4 x 3 pixels\)"):
        read_series(write(tmp_path, {}, {}, pictures=[PICTURE, np.ascontiguousarray(PICTURE.T)]))


def test_one_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    image = read_series(write(tmp_path / "classic", {}))
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 4])
    write_enhanced(tmp_path / "enhanced" / "e.dcm", np.stack([PICTURE]), [0])
    np.testing.assert_allclose(read_series(tmp_path / "enhanced").affine[:3, 2], [0, 0, 2])


def scaled(slope: str, intercept: str = "0") -> Changes:
    return {SLOPE: text(slope), INTERCEPT: text(intercept)}


def test_every_slice_has_its_own_scale(tmp_path: Path) -> None:
    found = values(write(tmp_path, {}, scaled("0.25", "-3"), scaled("2.5", "100"), scaled("-1")))
    assert found.dtype == np.float32
    plain = PICTURE.astype(float)
    np.testing.assert_allclose(found, [plain, plain * 0.25 - 3, plain * 2.5 + 100, -plain])


def test_every_slice_has_its_own_type(tmp_path: Path) -> None:
    signed = np.array([[-5, 7], [0, 30000]], "<i2")
    wide = np.array([[5, 7], [0, 60000]], "<u2")
    np.testing.assert_array_equal(values(write(tmp_path / "two", {}, {}, pictures=[signed, wide])), [signed, wide])
    huge = np.array([[5, 2**32 - 256], [0, 1]], "<u4")
    np.testing.assert_array_equal(values(write(tmp_path / "huge", {}, {}, pictures=[signed, huge])), [signed, huge])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (scaled("0"), "has a scale that makes every value the same (RescaleSlope is 0); export the series again."),
        (scaled("nan"), "has a scale that is not a number (RescaleSlope is 'nan')"),
        (scaled("abc"), "has a scale that is not a number (RescaleSlope is 'abc')"),
        (scaled("0,5"), "has a scale that is not a number (RescaleSlope is '0,5')"),
        (scaled("1\\2"), "has a scale that is not a number"),
        (scaled("1", "inf"), "has a scale that is not a number (RescaleIntercept is 'inf')"),
    ],
)
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, more: Changes, sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        read_series(write(tmp_path, {}, more))
    assert sentence in str(raised.value)


@pytest.mark.parametrize(("slopes", "factor"), [(("2", "2.0"), 2), (("0", "0"), None), (("x", "x"), None)])
def test_the_scale_of_frames_is_checked_too(tmp_path: Path, slopes: tuple[str, ...], factor: int | None) -> None:
    write_enhanced(tmp_path / "e.dcm", np.stack([PICTURE, PICTURE + 1]), [0, 1], slopes)
    if factor:
        np.testing.assert_array_equal(values(tmp_path), factor * np.stack([PICTURE, PICTURE + 1]))
    else:
        with pytest.raises(UserError, match="has a scale that"):
            read_series(tmp_path)


def unknown_sequence(*inside: bytes) -> bytes:
    """Return a private sequence of unknown type and undefined length: implicit inside (PS3.5, 6.2.2)."""
    head = struct.pack("<HH", 0x0029, 0x1010) + b"UN\0\0" + struct.pack("<I", 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + b"".join(inside) + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return head + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def test_a_sequence_of_unknown_type_is_implicit_inside(tmp_path: Path) -> None:
    nested = struct.pack("<HHI", 0x0029, 0x1012, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    private = unknown_sequence(implicit(0x00291011, b"abcd"), nested, implicit(0x00291013, b"UNSL"))
    write(tmp_path, {0x00291010: (b"as is", private)}, {})
    np.testing.assert_array_equal(values(tmp_path), [PICTURE, PICTURE])


@pytest.mark.parametrize("how", ["explicit", "implicit", "with a meta header"])
def test_files_without_a_preamble_are_read_if_they_are_plainly_dicom(tmp_path: Path, how: str) -> None:
    for k in range(2):
        path = tmp_path / f"{k}.dcm"
        write_slice(path, PICTURE + k, 2.0 * k, preamble=how == "with a meta header", implicit=how == "implicit")
        if how == "with a meta header":
            path.write_bytes(path.read_bytes()[132:])
        assert is_dicom(path)
    np.testing.assert_array_equal(values(tmp_path), [PICTURE, PICTURE + 1])


@pytest.mark.parametrize("data", [b"", b"\x08\0", b"\x08\0\x05\0CS\x0a\0ISO_IR 100", b"\x08\0\5\0\7\0\0\0" * 400])
def test_what_is_not_plainly_dicom_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(data)
    assert not is_dicom(tmp_path / "x.dcm") and read_header(tmp_path / "x.dcm") is None
    with pytest.raises(UserError) as raised:
        read_series(tmp_path)
    assert "no DICOM series (x.dcm has neither a preamble nor the class of a DICOM object), but" in str(raised.value)


def test_a_pipe_or_device_is_refused_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scan.nii")
    for path in (tmp_path / "scan.nii", Path("/dev/zero")):
        assert not is_dicom(path)
        with pytest.raises(UserError) as raised:
            read_input("flair", path)
        said = f"{path} is neither a file nor a folder, but a pipe or a device; save the scan to a file first."
        assert str(raised.value) == said
