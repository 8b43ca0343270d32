"""One NIfTI file as an image: unpacked, in one file or as a pair, with a header that makes sense.

The header is checked by ``readers.nifti_header``; nibabel's own remarks name no file and are not shown.
"""

from __future__ import annotations

import io
import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.nifti_header import AGAIN, FIX, checked_nifti, header_size, parsed
from anyadbench.quiet import without_warnings

if TYPE_CHECKING:
    from jaxtyping import Float

PIECE = 1 << 18
"""Bytes that are unpacked at a time: few enough for memory that is used again, not new pages each time."""

SLACK = 16 << 20
"""Bytes that an unpacked file may hold beyond the size in its header: extensions, padding."""

_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Length in mm of the unit with each code of ``xyzt_units``; an unknown unit is mm, as other programs assume."""

_ISAL_ERROR: Any = isal_zlib.error
"""What isal raises for a damaged stream; the package ships no type for it."""

_reading = threading.local()


class _Silent(logging.Filter):
    """Drops what nibabel says while this module reads a file: it does not name the file."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_reading, "now", False)


logging.getLogger("nibabel.global").addFilter(_Silent())


@contextmanager
def quiet() -> Iterator[None]:
    """Show nothing that libraries say while a file is read; they do not name it."""
    _reading.now = True
    try:
        with np.errstate(all="ignore"), without_warnings():
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
    size = header_size(data)
    pixels, image_file = None, path
    if path.name.lower().endswith((".img", ".img.gz")) and not size:
        pixels, path, data = data, *_partner(path, ".img", ".hdr")
        size = header_size(data)
    if not size:
        raise BadFile(path, *_not_nifti(data))
    if len(data) < size:
        raise BadFile(path, f"ends early ({len(data)} bytes, fewer than its header of {size})", AGAIN)
    if pixels is None and path.name.lower().endswith((".hdr", ".hdr.gz")):
        image_file, pixels = _partner(path, ".hdr", ".img")
    form: Any = nibabel.nifti2 if size == 540 else nibabel.nifti1
    with quiet():
        if pixels is not None:
            head, notes = checked_nifti(path, data[:size], len(pixels), image_file)
            kind = form.Nifti2Pair if size == 540 else form.Nifti1Pair
            return *decode(path, kind, head, pixels), notes
        extended = any(data[size : size + 1])
        head, notes = checked_nifti(path, data[:size], len(data), extended=extended)
        if extended or data[:size] != head:  # extensions say nothing about the values, and may be damaged
            data = b"".join((head, bytes(4), memoryview(data)[size + 4 :]))
        kind = form.Nifti2Image if size == 540 else form.Nifti1Image
        return *decode(path, kind, data, b""), notes


def _not_nifti(data: bytes) -> tuple[str, str]:
    if data[128:132] == b"DICM":
        return "is a DICOM file, not a NIfTI image", "give the folder of its series"
    return "is not a NIfTI image", "give a .nii or .nii.gz file"


def decode(path: Path, kind: Any, head: bytes, pixels: bytes) -> tuple[Any, np.ndarray]:
    """Return an image of nibabel and its values.

    Args:
        path: The file.
        kind: Class of the image.
        head: Its header; all of it where it is one file with the values.
        pixels: The file of the values; empty for one file.

    Raises:
        BadFile: If it cannot be read, or asks for more than the memory.
    """
    try:
        if not pixels:
            image = kind.from_bytes(head)
        else:
            holders = {"header": FileHolder(fileobj=io.BytesIO(head)), "image": FileHolder(fileobj=io.BytesIO(pixels))}
            image = kind.from_file_map(holders)
        array = np.asanyarray(image.dataobj)
    except MemoryError:
        raise BadFile(path, "has a header that asks for more than the memory", AGAIN) from None
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OverflowError, OSError, EOFError) as error:
        cause = "ends early" if len(head) > 348 and "bytes" in str(error).lower() else "cannot be read"
        text = " ".join(str(error).split())[:160]
        raise BadFile(path, f"{cause} ({text})", AGAIN) from error
    return image, array


def partner(path: Path) -> Path | None:
    """Return the other file of a pair, or ``None`` if the name belongs to no pair or the file is missing."""
    for ending, other in ((".hdr", ".img"), (".img", ".hdr")):
        for packed in ("", ".gz"):
            if path.name.lower().endswith(ending + packed):
                stem = path.name[: -len(ending + packed)]
                names = [f"{stem}{new}{end}" for new in (other, other.upper()) for end in (packed, "", ".gz")]
                found = next((found for name in names if (found := path.with_name(name)).is_file()), None)
                return found or _in_other_case(path.parent, names)
    return None


def _in_other_case(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the file of a folder whose name is one of the names except for case, if there is one alone."""
    wanted = {name.lower() for name in names}
    found = [each for each in folder.iterdir() if each.name.lower() in wanted] if folder.is_dir() else []
    return found[0] if len(found) == 1 and found[0].is_file() else None


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
        if path.exists() and not path.is_file() and not path.is_dir():
            raise BadFile(path, "is not a regular file", "give a .nii or .nii.gz file")
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
            head = stream.read(540)
            most += _told_size(head)
            whole = io.BytesIO()  # grows in place, and gives its bytes away without a copy
            whole.write(head)
            while piece := stream.read(PIECE):
                whole.write(piece)
                if whole.tell() > most:
                    cause = "unpacks to more than the size in its header"
                    raise BadFile(path, cause, AGAIN)
            return whole.getvalue()
    except (EOFError, OSError, _ISAL_ERROR) as error:
        text = str(error) or type(error).__name__
        raise BadFile(path, f"is damaged ({text})", "copy or download it again") from error


def _stream(data: bytes) -> Any:
    """Return a reader of gzip data, which may have several members."""
    reader: Any = igzip.IGzipFile
    return reader(fileobj=io.BytesIO(data))


def _told_size(head: bytes) -> int:
    """Return the size in bytes of a file with this header; 0 if it is not a header."""
    size = header_size(head)
    if not size or len(head) < size:
        return 0
    header = parsed(head)
    try:
        offset = min(SLACK, max(0, int(float(header["vox_offset"]))))
    except (ValueError, OverflowError):
        offset = 0
    axes = min(7, max(0, int(header["dim"][0])))
    voxels = math.prod(max(0, int(length)) for length in header["dim"][1 : axes + 1])
    return offset + voxels * max(1, abs(int(header["bitpix"])) // 8)


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
        raise BadFile(path, f"has a broken orientation ({error})", FIX) from error
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
        raise BadFile(path, f"has an unknown unit of length in its header (xyzt_units {code})", FIX)
    return _TO_MM[code]
