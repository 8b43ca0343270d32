"""One NIfTI file as an image: unpacked, in one file or as a pair, with a header that makes sense.

Headers are repaired where their meaning is plain, and each repair is noted; nibabel's own remarks name no file and are
not shown.
"""

from __future__ import annotations

import io
import logging
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError

from anyadbench.data.trees.problems import BadFile

if TYPE_CHECKING:
    from jaxtyping import Float

PIECE = 4 << 20
SLACK = 16 << 20
"""Bytes that an unpacked file may hold beyond the size in its header: extensions, padding."""

_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Length in mm of the unit with each code of ``xyzt_units``; an unknown unit is mm, as other programs assume."""

_ISAL_ERROR: Any = isal_zlib.error
"""What isal raises for a damaged stream; the package ships no type for it."""

_AGAIN = "copy or download it again, or convert it to NIfTI"
_HEADER = "fix its header or convert it again"

_reading = threading.local()


class _Silent(logging.Filter):
    """Drops what nibabel says while this module reads a file: it does not name the file."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_reading, "now", False)


logging.getLogger("nibabel.global").addFilter(_Silent())


@contextmanager
def _quiet() -> Iterator[None]:
    _reading.now = True
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        _reading.now = False


def load_nifti(path: Path) -> tuple[Any, np.ndarray, tuple[str, ...]]:
    """Read a NIfTI file, or a pair from either of its files.

    Returns:
        The image of nibabel, its values, and what was repaired in its header.

    Raises:
        BadFile: If it is missing, empty, damaged, or not a NIfTI image of grey values.
    """
    data = unpacked(path)
    size = _header_size(data)
    pixels = None
    if path.name.lower().endswith((".img", ".img.gz")) and not size:
        pixels, path, data = data, *_partner(path, ".img", ".hdr")
        size = _header_size(data)
    if not size or len(data) < size:
        raise BadFile(path, *_not_nifti(data))
    if pixels is None and path.name.lower().endswith((".hdr", ".hdr.gz")):
        _, pixels = _partner(path, ".hdr", ".img")
    with _quiet():
        head, notes = _repaired(path, bytearray(data[:size]), data if pixels is None else pixels, pixels is not None)
        data = data if data[:size] == head else b"".join((head, memoryview(data)[size:]))
        image, array = _decode(path, data, pixels, size)
    if array.dtype.kind not in "iufb" or not array.size:
        cause = f"holds no grey values (type {array.dtype}, shape {array.shape})"
        raise BadFile(path, cause, "give a grey-value image")
    return image, array, notes


def _not_nifti(data: bytes) -> tuple[str, str]:
    if data[128:132] == b"DICM":
        return "is a DICOM file, not a NIfTI image", "give the folder of its series"
    return "is not a NIfTI image", "give a .nii or .nii.gz file"


def _decode(path: Path, data: bytes, pixels: bytes | None, size: int) -> tuple[Any, np.ndarray]:
    single: Any = nibabel.nifti2.Nifti2Image if size == 540 else nibabel.nifti1.Nifti1Image
    pair: Any = nibabel.nifti2.Nifti2Pair if size == 540 else nibabel.nifti1.Nifti1Pair
    try:
        if pixels is None:
            image = single.from_bytes(data)
        else:
            holders = {"header": FileHolder(fileobj=io.BytesIO(data)), "image": FileHolder(fileobj=io.BytesIO(pixels))}
            image = pair.from_file_map(holders)
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError, ValueError, OverflowError, OSError, EOFError) as error:
        cause = "ends early" if len(data) > 348 and "bytes" in str(error).lower() else "cannot be read as NIfTI"
        text = " ".join(str(error).split())[:160]
        raise BadFile(path, f"{cause} ({text})", _AGAIN) from error
    except MemoryError:
        raise BadFile(path, "has a header that asks for more than the memory", _AGAIN) from None
    return image, array


def partner(path: Path) -> Path | None:
    """Return the other file of a pair, or ``None`` if the name belongs to no pair or the file is missing."""
    for ending, other in ((".hdr", ".img"), (".img", ".hdr")):
        for packed in ("", ".gz"):
            if path.name.lower().endswith(ending + packed):
                stem = path.name[: -len(ending + packed)]
                names = [f"{stem}{new}{end}" for new in (other, other.upper()) for end in (packed, "", ".gz")]
                return next((found for name in names if (found := path.with_name(name)).is_file()), None)
    return None


def _partner(path: Path, own: str, other: str) -> tuple[Path, bytes]:
    found = partner(path)
    if found is None:
        raise BadFile(path, f"is the {own} file of a pair whose {other} file is missing", "give both, in one folder")
    return found, unpacked(found)


def unpacked(path: Path) -> bytes:
    """Return what a file holds, unpacked if it is packed by gzip.

    Raises:
        BadFile: If it is missing, empty or damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadFile(path, "is missing", "check the path") from None
    except IsADirectoryError:
        raise BadFile(path, "is a folder, not an image", "give a .nii or .nii.gz file") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})", "check the disk and the permissions") from error
    if not data:
        raise BadFile(path, "is empty (0 bytes)", "copy or download it again")
    if data[:2] != b"\x1f\x8b":
        return data
    most = SLACK
    if path.name.lower().endswith(".img.gz") and (found := partner(path)) is not None:
        most += _told_size(unpacked(found)[:540])
    try:
        # Read to the end of the stream, so that its checksum is verified, but no further than the header's size: a few
        # bytes may unpack to more than memory holds.
        with _stream(data) as stream:
            pieces = [stream.read(540)]
            most += _told_size(pieces[0]) - len(pieces[0])
            while piece := stream.read(PIECE):
                pieces.append(piece)
                most -= len(piece)
                if most < 0:
                    cause = "unpacks to more than the size in its header"
                    raise BadFile(path, cause, _AGAIN)
            return b"".join(pieces)
    except (EOFError, OSError, _ISAL_ERROR) as error:
        text = str(error) or type(error).__name__
        raise BadFile(path, f"is damaged ({text})", "copy or download it again") from error


def _stream(data: bytes) -> Any:
    """Return a reader of gzip data, which may have several members."""
    reader: Any = igzip.IGzipFile
    return reader(fileobj=io.BytesIO(data))


def _repaired(path: Path, head: bytearray, data: bytes, pair: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return a header whose fields make sense, and what was repaired.

    Raises:
        BadFile: If a voxel size is missing where nothing else defines the geometry, or the values' place is impossible.
    """
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    new = len(head) == 540
    at, kind = (104, "d") if new else (76, "f")
    steps = list(struct.unpack_from(f"{order}8{kind}", head, at))
    codes = struct.unpack_from(f"{order}2{'i' if new else 'h'}", head, 344 if new else 252)
    notes = []
    if head[4 if new else 344 :][:2] == b"n+" or head[4 if new else 344 :][:2] == b"ni":
        if any(not math.isfinite(step) or step == 0 for step in steps[1:4]):
            if codes[1] <= 0:
                raise BadFile(path, "has voxels without a size in its header (pixdim is 0 or NaN)", _HEADER)
            steps[1:4] = [step if math.isfinite(step) and step else 1.0 for step in steps[1:4]]
        if any(step < 0 for step in steps[1:4]):
            notes.append("has a negative voxel size in its header (pixdim), whose sign is ignored")
        steps[1:4] = [abs(step) for step in steps[1:4]]
        steps[0] = -1.0 if steps[0] == -1 else 1.0
        struct.pack_into(f"{order}8{kind}", head, at, *steps)
        _repair_offset(path, head, order, data, pair)
        # nibabel takes these for granted; a value that no program can mean is as good as none.
        if codes[0] < 0 or codes[1] < 0:
            struct.pack_into(f"{order}2{'i' if new else 'h'}", head, 344 if new else 252, *(max(0, c) for c in codes))
    return bytes(head), tuple(notes)


def _repair_offset(path: Path, head: bytearray, order: str, data: bytes, pair: bool) -> None:
    """Set the place of the values to where they must be, if the header says something impossible."""
    new = len(head) == 540
    at, kind = (168, "q") if new else (108, "f")
    (offset,) = struct.unpack_from(order + kind, head, at)
    if pair and head[:4] and head[4 if new else 344 :][:2] == b"n+":
        head[(4 if new else 344) + 1 : (4 if new else 344) + 2] = b"i"
    if not pair and head[4 if new else 344 :][:2] == b"ni":
        head[(4 if new else 344) + 1 : (4 if new else 344) + 2] = b"+"
    first = 0 if pair else len(head) + 4
    values = _told_bytes(bytes(head))
    if math.isfinite(offset) and offset >= first and offset == int(offset) and int(offset) + values <= len(data):
        return
    if first + values == len(data):
        struct.pack_into(order + kind, head, at, first)
    elif not math.isfinite(offset) or offset < first or offset != int(offset) or offset > len(data):
        cause = f"has an impossible place of its values in its header (vox_offset {offset:g})"
        raise BadFile(path, cause, _HEADER)


def _told_bytes(head: bytes) -> int:
    """Return the number of bytes of the values that a header describes; 0 if it describes none."""
    kind: Any = nibabel.nifti2.Nifti2Header if _header_size(head) == 540 else nibabel.nifti1.Nifti1Header
    try:
        header = kind(head[: _header_size(head)], check=False)
        voxels = math.prod(int(length) for length in header.get_data_shape())
        return voxels * int(header["bitpix"]) // 8
    except (HeaderDataError, ValueError, OverflowError):
        return 0


def _told_size(head: bytes) -> int:
    """Return the size in bytes of a file with this header; 0 if it is not a NIfTI header."""
    size = _header_size(head)
    if not size or len(head) < size:
        return 0
    kind: Any = nibabel.nifti2.Nifti2Header if size == 540 else nibabel.nifti1.Nifti1Header
    try:
        return max(0, int(float(kind(head[:size], check=False)["vox_offset"]))) + _told_bytes(head)
    except (HeaderDataError, ValueError, OverflowError):
        return _told_bytes(head)


def _header_size(data: bytes) -> int:
    sizes = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return next((size for size in (348, 540) if size in sizes), 0)


def affine_of(path: Path, image: Any) -> Float[np.ndarray, "4 4"]:
    """Return an image's affine in the unit of its header.

    Raises:
        BadFile: If it has none.
    """
    header = image.header
    fix = "convert it again with a tool that keeps the orientation"
    if isinstance(header, nibabel.nifti1.Nifti1Header):
        if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
            raise BadFile(path, "does not define its orientation (neither sform nor qform is set)", fix)
    # Formats other than NIfTI (MGH, SPM) have an affine without codes; plain Analyze has none, and nibabel invents one.
    elif image.affine is None or type(header) is nibabel.analyze.AnalyzeHeader:
        raise BadFile(path, "does not define its orientation (it has no affine)", fix)
    try:
        affine = np.array(image.affine, dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise BadFile(path, f"has a broken orientation ({error})", _HEADER) from error
    return affine


def mm_of(path: Path, header: Any) -> float:
    """Return the length in mm of the unit of a header.

    Raises:
        BadFile: If the header names a unit that NIfTI does not have.
    """
    if not isinstance(header, nibabel.nifti1.Nifti1Header):
        return 1.0
    code = int(header["xyzt_units"]) & 7
    if code not in _TO_MM:
        raise BadFile(path, f"has an unknown unit of length in its header (xyzt_units {code})", _HEADER)
    return _TO_MM[code]
