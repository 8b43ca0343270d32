"""Headers of NIfTI and Analyze files, checked field by field before nibabel reads the values.

A field whose meaning is plain all the same is repaired, and each repair is noted; anything else is refused with its own
cause. Source: the NIfTI-1 and NIfTI-2 headers, https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError

from anyadbench.data.trees.problems import BadFile

AGAIN = "copy or download it again, or convert it to NIfTI"
FIX = "fix its header or convert it again"

_CODES = range(6)
"""What an sform or qform leads to: nothing, scanner, another image, Talairach, MNI, another template."""

_APART = 0.1
"""Distance in voxels by which an sform and a qform of one code may differ: a qform is stored as a rounded rotation."""


def header_size(data: bytes) -> int:
    """Return the size in bytes of the header with which data begin: 348, 540, or 0 if they begin with none."""
    sizes = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return next((size for size in (348, 540) if size in sizes), 0)


def parsed(head: bytes, analyze: bool = False) -> Any:
    """Return a header of nibabel without its checks; its size says its byte order."""
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    nifti: Any = nibabel.nifti2.Nifti2Header if header_size(head) == 540 else nibabel.nifti1.Nifti1Header
    kind: Any = nibabel.analyze.AnalyzeHeader if analyze else nifti
    return kind(head[: header_size(head)], endianness=order, check=False)


def checked_nifti(
    path: Path, head: bytes, length: int, pair: Path | None = None, extended: bool = False
) -> tuple[bytes, tuple[str, ...]]:
    """Return a NIfTI header whose fields make sense, and what was repaired, as predicates of a sentence about the file.

    Args:
        path: The file.
        head: Its header.
        length: Bytes of the file that holds the values.
        pair: That file, if it is another one.
        extended: Whether an extension of the header precedes the values.

    Raises:
        BadFile: If a field has no plain meaning.
    """
    header, notes = parsed(head), list[str]()
    magic = bytes(header["magic"].item())[:2]
    if magic not in (b"n+", b"ni"):
        cause = "does not define its orientation (its header is Analyze 7.5, not NIfTI)"
        raise BadFile(path, cause, "convert it again with a tool that keeps the orientation")
    if (magic == b"ni") != (pair is not None):
        is_, says = ("a pair", "one file") if pair else ("one file", "a pair")
        notes.append(f"is {is_}, though its header says {says} (magic {header['magic'].item().decode('latin-1')[:3]})")
        header["magic"] = (b"ni" if pair else b"n+") + header["magic"].item()[2:]
    values = checked_values(path, header, notes)
    for name in ("qform_code", "sform_code"):
        if (code := int(header[name])) not in _CODES:
            notes.append(f"has an unknown {name} in its header ({code}), so that its {name[:5]} is not used")
            header[name] = 0
    check_sizes(path, header, notes, needed=int(header["sform_code"]) == 0)
    _check_scale(path, header, notes)
    _check_forms(path, header, notes)
    check_place(pair or path, header, notes, values, length, 0 if pair else len(head) + 4, extended)
    return header.binaryblock, tuple(notes)


def checked_values(path: Path, header: Any, notes: list[str]) -> int:
    """Return the bytes of the values that a header describes.

    Raises:
        BadFile: If it describes none, or none of grey values.
    """
    axes = int(header["dim"][0])
    if not 1 <= axes <= 7:
        raise BadFile(path, f"has an impossible number of axes in its header (dim[0] is {axes})", FIX)
    shape = tuple(int(length) for length in header["dim"][1 : axes + 1])
    if any(length < 1 for length in shape):
        raise BadFile(path, f"has an axis without length in its header (dim {shape})", FIX)
    code = int(header["datatype"])
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        dtype = None
    if dtype is None or not dtype.itemsize:
        raise BadFile(path, f"has an unknown type of values in its header (datatype {code})", FIX)
    if dtype.kind not in "iufb":
        raise BadFile(path, f"holds no grey values (type {dtype}, shape {shape})", "give a grey-value image")
    if (bits := int(header["bitpix"])) != 8 * dtype.itemsize:
        notes.append(f"has {bits} bits per value in its header (bitpix) where its type has {8 * dtype.itemsize}")
        header["bitpix"] = 8 * dtype.itemsize
    return math.prod(shape) * int(dtype.itemsize)


def check_sizes(path: Path, header: Any, notes: list[str], needed: bool) -> None:
    """Check the voxel size, and drop its sign.

    Args:
        path: The file.
        header: Its header.
        notes: Extended by what is repaired.
        needed: Whether nothing else defines the geometry.

    Raises:
        BadFile: If a size is missing and needed.
    """
    steps = np.array(header["pixdim"], np.float64)
    lacking = ~np.isfinite(steps[1:4]) | (steps[1:4] == 0)
    if lacking.any():
        if needed:
            raise BadFile(path, "has voxels without a size in its header (pixdim is 0 or NaN)", FIX)
        notes.append("has voxels without a size in its header (pixdim is 0 or NaN), which its sform gives")
        steps[1:4][lacking] = 1.0
    if (steps[1:4] < 0).any():
        notes.append("has a negative voxel size in its header (pixdim), whose sign is ignored")
    steps[1:4] = np.abs(steps[1:4])
    if "sform_code" in header:
        if needed and steps[0] not in (-1, 0, 1):  # 0 is what the standard lets writers leave there
            notes.append(f"has {steps[0]:g} as handedness in its header (pixdim[0]), which counts as 1")
        steps[0] = -1.0 if steps[0] == -1 else 1.0
    header["pixdim"] = steps


def _check_scale(path: Path, header: Any, notes: list[str]) -> None:
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if math.isinf(slope) or (math.isfinite(slope) and slope != 0 and not math.isfinite(shift)):
        cause = f"has an impossible scale of its values in its header (scl_slope {slope:g}, scl_inter {shift:g})"
        raise BadFile(path, cause, FIX)
    if math.isnan(slope):  # 0 is the standard's own way to say that there is none
        notes.append("has NaN as scale of its values in its header (scl_slope), which are read as stored")


def _check_forms(path: Path, header: Any, notes: list[str]) -> None:
    """Check the orientation that counts, the sform or else the qform, and compare the two."""
    rows = np.array([header[f"srow_{axis}"] for axis in "xyz"], np.float64)
    turn = np.array([header[f"quatern_{part}"] for part in "bcd"], np.float64)
    place = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], np.float64)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    usable = bool(np.isfinite([turn, place]).all()) and float((turn**2).sum()) <= 1 + 1e-6
    if sform:
        if not np.isfinite(rows).all():
            raise BadFile(path, "holds NaN or infinity in the sform of its header (srow)", FIX)
    elif qform and not usable:
        what = "an impossible rotation" if np.isfinite([turn, place]).all() else "NaN or infinity"
        raise BadFile(path, f"holds {what} in the qform of its header (quatern, qoffset)", FIX)
    if not (sform and qform and usable):
        return
    one, other = header.get_sform(), header.get_qform()
    lengths = [max(0, int(length) - 1) for length in [*header["dim"][1:4]]]
    corners = np.array(np.meshgrid(*[(0, length) for length in lengths], [1], indexing="ij")).reshape(4, -1)
    apart = float(np.abs(((one - other) @ corners)[:3]).max())
    mirrored = np.linalg.det(one[:3, :3]) * np.linalg.det(other[:3, :3]) < 0
    if mirrored or (sform == qform and apart > _APART * float(np.min(header["pixdim"][1:4]))):
        how = "is mirrored to" if mirrored else f"is up to {apart:.3g} mm away from"
        notes.append(f"has a qform in its header that {how} its sform, and the sform counts")


def check_place(
    path: Path, header: Any, notes: list[str], values: int, length: int, least: int, extended: bool = False
) -> None:
    """Check where the values are; an impossible offset is repaired if they can only be in one place.

    Args:
        path: The file that holds them.
        header: The header.
        notes: Extended by what is repaired.
        values: Bytes of the values.
        length: Bytes of the file.
        least: Lowest possible offset.
        extended: Whether an extension may precede them.

    Raises:
        BadFile: If the offset is impossible, or the file too short.
    """
    offset, exact = float(header["vox_offset"]), least + values == length
    of_one_file = least == 0 and exact and offset in (352, 544)  # a pair that was cut out of one file
    if not math.isfinite(offset) or offset < least or offset != int(offset) or of_one_file:
        cause = f"has an impossible place of its values in its header (vox_offset {offset:g})"
        if not exact or extended:
            raise BadFile(path, cause, FIX)
        notes.append(f"{cause}, which can only begin at byte {least}")
        header["vox_offset"] = offset = least
    if offset > length:
        cause = f"has a place of its values in its header (vox_offset {offset:g}) beyond its end ({length} bytes)"
        raise BadFile(path, cause, AGAIN)
    found = length - int(offset)
    if found < values:
        raise BadFile(path, f"ends early ({found} bytes of values where its header describes {values})", AGAIN)
    if found > values:
        if any("(bitpix)" in note for note in notes):
            raise BadFile(path, "has a type (datatype) and bits per value (bitpix) that contradict each other", FIX)
        notes.append(f"has {found - values} bytes after its values, which are not read")
