"""Analyze 7.5 pairs: one sentence for each fault, and nothing of nibabel's."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import LPS, anatomy

from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.analyze import read_analyze

SHAPE = (10, 8, 6)
ARRAY = anatomy(1, SHAPE, "t1")
PLACE = "has an impossible place of its values in its header"
nifti: Any = nibabel


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """The header of a pair in the byte order of the release."""
    header = nifti.analyze.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    nifti.analyze.AnalyzeImage(ARRAY[:, ::-1].astype(">i2"), None, header).to_filename(tmp_path / "a.img")
    return tmp_path / "a.hdr"


def changed(path: Path, kind: str, at: int, *values: float) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into(f">{len(values)}{kind}", data, at, *values)
    path.write_bytes(bytes(data))
    return path


def test_a_pair_is_read_in_lps_order_without_a_note(pair: Path) -> None:
    volume = read_analyze(pair)
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("kind", "at", "values", "cause"),
    [
        ("i", 0, (99,), "is no Analyze header (348 bytes, of which the first four should say 348)"),
        ("h", 40, (8,), "has an impossible number of axes in its header (dim[0] is 8)"),
        ("h", 42, (0,), "has an axis without length in its header (dim (0, 8, 6))"),
        ("h", 42, (32767, 32767, 32767), "ends early (960 bytes of values where its header describes 70362301923326)"),
        ("h", 70, (5,), "has an unknown type of values in its header (datatype 5)"),
        ("h", 70, (32,), "holds no grey values (type >c8, shape (10, 8, 6))"),
        ("f", 80, (0, 1, 1), "has voxels without a size in its header (pixdim is 0 or NaN)"),
        ("f", 80, (1, np.nan, 1), "has voxels without a size in its header (pixdim is 0 or NaN)"),
        ("f", 80, (1e6, 1, 1), "has voxels of 1e+06 x 1 x 1 mm"),
        ("f", 108, (1e9,), "has a place of its values in its header (vox_offset 1e+09) beyond its end (960 bytes)"),
        ("f", 108, (16,), "ends early (944 bytes of values where its header describes 960)"),
    ],
)
def test_a_damaged_header_is_one_sentence(
    pair: Path, kind: str, at: int, values: tuple[float, ...], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    changed(pair, kind, at, *values)
    with warnings.catch_warnings(), pytest.raises(BadFile) as caught:
        warnings.simplefilter("error")
        read_analyze(pair)
    of_values = pair.with_suffix(".img") if "bytes)" in cause or "ends early" in cause else pair
    assert str(caught.value).startswith(f"{pair if 'no Analyze' in cause else of_values} {cause}")
    assert caplog.records == []


@pytest.mark.parametrize("length", [3, 200, 347])
def test_a_short_header_is_one_sentence(pair: Path, length: int) -> None:
    pair.write_bytes(pair.read_bytes()[:length])
    with pytest.raises(BadFile, match=rf"a\.hdr is no Analyze header \({length} bytes, of which the first four should"):
        read_analyze(pair)


@pytest.mark.parametrize(
    ("kind", "at", "value", "note"),
    [
        ("f", 80, -1, "has a negative voxel size in its header (pixdim), whose sign is ignored"),
        ("h", 72, 8, "has 8 bits per value in its header (bitpix) where its type has 16"),
        ("f", 108, -5, f"{PLACE} (vox_offset -5), which can only begin at byte 0"),
        ("f", 108, np.nan, f"{PLACE} (vox_offset nan), which can only begin at byte 0"),
    ],
)
def test_each_repair_is_noted_and_nibabel_says_nothing(
    pair: Path, kind: str, at: int, value: float, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_analyze(changed(pair, kind, at, value))
    np.testing.assert_array_equal(volume.array, ARRAY)
    assert volume.notes == (note,) and caplog.records == []


def test_a_pair_that_was_converted_to_nifti_has_its_own_axes(tmp_path: Path) -> None:
    nifti.nifti1.Nifti1Pair(ARRAY, LPS).to_filename(tmp_path / "a.hdr")
    np.testing.assert_array_equal(read_analyze(tmp_path / "a.hdr").array, ARRAY)
