"""Reading NIfTI volumes into one orientation, with checks that report what is wrong.

Arrays are in LPS order: the first index runs to the patient's left, the second to posterior, the third to superior.
The canonical axial slice ``k`` is ``array[:, :, k].T``: image rows run from anterior (top) to posterior, columns from
the patient's right to left, the radiological view.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from anyadbench.data.trees.problems import BadFile

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

orientations: Any = nibabel.orientations
"""nibabel's functions on axes; it ships no types."""

TOLERANCE_MM = 1e-3
"""Largest distance in mm between corresponding corners of two grids that count as the same."""

PIECE = 4 << 20
SLACK = 16 << 20
"""Bytes that an unpacked file may hold beyond the size in its header: extensions, padding."""

FRACTION = 1e-3
"""Largest distance of a label from an integer."""

_LPS = orientations.axcodes2ornt("LPS")


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3D image in LPS order.

    Attributes:
        path: File it came from.
        array: Values; integers as stored, floats as float32.
        affine: Maps indices of ``array`` to NIfTI world coordinates (mm, RAS+).
        native_affine: The file's own affine.
        native_orientation: The file's axes as nibabel's orientation array.
    """

    path: Path
    array: Shaped[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    native_affine: Float[np.ndarray, "4 4"]
    native_orientation: Float[np.ndarray, "3 2"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths of the three axes."""
        x, y, z = self.array.shape
        return int(x), int(y), int(z)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along the three axes in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def height_mm(self, index: int) -> float:
        """World height (mm, towards superior) of the centre of axial slice ``index``."""
        x, y, _ = self.shape
        return float((self.affine @ np.array([(x - 1) / 2, (y - 1) / 2, index, 1.0]))[2])

    def axial(self) -> Shaped[np.ndarray, "z y x"]:
        """Return every canonical axial slice, from inferior to superior, contiguous in memory."""
        return np.ascontiguousarray(self.array.transpose(2, 1, 0))

    def to_native(self, array: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "a b c"]:
        """Reorient an array of this grid to the axes of the file, to be saved with ``native_affine``."""
        if array.shape != self.shape:
            raise ValueError(f"array of shape {array.shape} does not lie on the grid {self.shape} of {self.path}")
        back = orientations.ornt_transform(_LPS, self.native_orientation)
        return np.asarray(orientations.apply_orientation(array, back))


def read_volume(path: str | Path) -> Volume:
    """Read a 3D NIfTI file.

    Raises:
        BadFile: If it is missing, empty, damaged, not a NIfTI image, not 3D, without a usable orientation, or contains
            NaN or infinity.
    """
    return read_with_header(path)[0]


def read_with_header(path: str | Path) -> tuple[Volume, Any]:
    """Read a 3D NIfTI file and its header, by content whatever its name; raises as ``read_volume``."""
    image, array = _load(Path(path))
    if array.ndim != 3:
        fix = "save one 3D volume per file" if array.ndim > 3 else "give a 3D volume"
        raise BadFile(path, f"has {array.ndim} axes {array.shape} where a volume has 3", fix)
    return _canonical(Path(path), image, array), image.header


def volume_of(image: Any, name: str) -> Volume:
    """Return an image in memory (nibabel's ``Nifti1Image``, ``MGHImage`` and so on) as a volume.

    Raises:
        BadFile: As ``read_volume``; ``name`` stands for the file.
    """
    array = np.asanyarray(image.dataobj)
    if array.ndim != 3:
        raise BadFile(name, f"has {array.ndim} axes {array.shape} where a volume has 3", "give a 3D volume")
    if array.dtype.kind not in "iufb" or not array.size:
        raise BadFile(
            name, f"holds no grey values (type {array.dtype}, shape {array.shape})", "give a grey-value image"
        )
    return _canonical(Path(name), image, array)


def read_channels(path: str | Path, channels: Sequence[str]) -> dict[str, Volume]:
    """Read a 4D NIfTI file with the named sequences on its last axis.

    Raises:
        BadFile: As ``read_volume``, or if the last axis has another length.
    """
    image, array = _load(Path(path))
    if array.ndim != 4 or array.shape[3] != len(channels):
        cause = f"has the shape {array.shape} where its layout has 4 axes, the last of length {len(channels)}"
        raise BadFile(path, cause, f"give the 4D image with {', '.join(channels)}, or choose another data set name")
    return {name: _canonical(Path(path), image, array[..., index]) for index, name in enumerate(channels)}


def read_labels(path: str | Path) -> Volume:
    """Read a segmentation as integers from 0; floats within 1e-3 of an integer are rounded.

    Raises:
        BadFile: As ``read_volume``, or if labels are fractional, negative or above 255.
    """
    return whole_labels(read_volume(path))


def whole_labels(volume: Volume) -> Volume:
    """Return a segmentation with its labels as integers from 0 to 255; floats within 1e-3 of an integer are rounded.

    Raises:
        BadFile: If labels are fractional, negative or above 255.
    """
    path, array = volume.path, volume.array
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        worst = float(np.abs(array - rounded).max(initial=0.0))
        if worst > FRACTION:
            cause = f"holds fractional labels (up to {worst:.3g} from an integer)"
            raise BadFile(path, cause, "resample it by nearest neighbour, or give the original segmentation")
        array = rounded
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low < 0 or high > 255:
        cause = f"holds labels from {low:g} to {high:g}, but a segmentation has integers from 0 to 255"
        raise BadFile(path, cause, "give the segmentation, not an image")
    return Volume(volume.path, array.astype(np.uint8), volume.affine, volume.native_affine, volume.native_orientation)


def check_siblings(first: Volume, other: Volume) -> None:
    """Check that two volumes of one scan lie on the same grid.

    Raises:
        BadFile: If the shape or affine of ``other`` differs; it names ``other``.
    """
    fix = f"resample it onto the grid of {first.path.name}, or give the co-registered version"
    if first.shape != other.shape:
        cause = f"has the shape {other.shape} (LPS) where its sibling {first.path.name} has {first.shape}"
        raise BadFile(other.path, cause, fix)
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in first.shape], [1], indexing="ij")).reshape(4, -1)
    distance = float(np.abs((first.affine - other.affine) @ corners)[:3].max())
    if distance > TOLERANCE_MM:
        cause = f"has another affine than its sibling {first.path.name} (up to {distance:.3g} mm apart)"
        raise BadFile(other.path, cause, fix)


def _bytes(path: Path) -> bytes:
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
    try:
        # Read to the end of the stream, so that its checksum is verified, but no further than the header's size: a few
        # bytes may unpack to more than memory holds.
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = bytearray(stream.read(540))
            most = _told_size(bytes(unpacked)) + SLACK
            while piece := stream.read(PIECE):
                unpacked += piece
                if len(unpacked) > most:
                    cause = "unpacks to more than the size in its header"
                    raise BadFile(path, cause, "copy or download it again, or convert it to NIfTI")
            return bytes(unpacked)
    except (EOFError, OSError, zlib.error) as error:
        text = str(error) or type(error).__name__
        raise BadFile(path, f"is damaged ({text})", "copy or download it again") from error


def _load(path: Path) -> tuple[Any, np.ndarray]:
    data = _bytes(path)
    kind = nibabel.nifti2.Nifti2Image if _header_size(data) == 540 else nibabel.nifti1.Nifti1Image
    if _header_size(data) not in (348, 540) or len(data) < _header_size(data):
        raise BadFile(path, "is not a NIfTI image", "give a .nii or .nii.gz file")
    try:
        image = kind.from_bytes(data)
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError, ValueError, OverflowError, OSError, EOFError) as error:
        cause = "ends early" if len(data) > 348 and "bytes" in str(error).lower() else "cannot be read as NIfTI"
        text = " ".join(str(error).split())[:160]
        raise BadFile(path, f"{cause} ({text})", "copy or download it again, or convert it to NIfTI") from error
    if array.dtype.kind not in "iufb" or not array.size:
        cause = f"holds no grey values (type {array.dtype}, shape {array.shape})"
        raise BadFile(path, cause, "give a grey-value image")
    return image, array


def _told_size(head: bytes) -> int:
    """Return the size in bytes of a file with this header; 0 if it is not a NIfTI header."""
    if _header_size(head) not in (348, 540) or len(head) < _header_size(head):
        return 0
    kind: Any = nibabel.nifti2.Nifti2Header if _header_size(head) == 540 else nibabel.nifti1.Nifti1Header
    try:
        header = kind(head[: _header_size(head)], check=False)
        voxels = math.prod(int(length) for length in header.get_data_shape())
        return int(float(header["vox_offset"])) + voxels * int(header["bitpix"]) // 8
    except (HeaderDataError, ValueError, OverflowError):
        return 0


def _header_size(data: bytes) -> int:
    sizes = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return next((size for size in (348, 540) if size in sizes), 0)


def _canonical(path: Path, image: Any, array: np.ndarray) -> Volume:
    return canonical_volume(path, array, _affine(path, image))


def canonical_volume(path: Path, array: Shaped[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"]) -> Volume:
    """Return an image, as a file of any format gives it, as a volume in LPS order.

    Args:
        path: The file.
        array: Grey values or labels, in the axes of the file.
        affine: Maps indices of ``array`` to NIfTI world coordinates (mm, RAS+).

    Raises:
        BadFile: If the array has not three axes, holds no grey values, NaN or infinity, or the affine is degenerate.
    """
    if array.ndim != 3:
        raise BadFile(path, f"has {array.ndim} axes {array.shape} where a volume has 3", "give a 3D volume")
    if array.dtype.kind not in "iufb" or not array.size:
        cause = f"holds no grey values (type {array.dtype}, shape {array.shape})"
        raise BadFile(path, cause, "give a grey-value image")
    _check_affine(path, affine)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad:
            raise BadFile(path, f"holds {bad} values that are NaN or infinite", "fix or replace the image")
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    # NIfTI stores little or big endian; arithmetic and hashes need the machine's own.
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    native = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(native, _LPS)
    turned = np.asarray(orientations.apply_orientation(array, transform))
    return Volume(path, turned, affine @ orientations.inv_ornt_aff(transform, array.shape), affine, native)


def _affine(path: Path, image: Any) -> np.ndarray:
    header = image.header
    fix = "convert it again with a tool that keeps the orientation"
    if isinstance(header, nibabel.nifti1.Nifti1Header):
        if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
            raise BadFile(path, "does not define its orientation (neither sform nor qform is set)", fix)
    # Formats other than NIfTI (MGH, SPM) have an affine without codes; plain Analyze has none, and nibabel invents one.
    elif image.affine is None or type(header) is nibabel.analyze.AnalyzeHeader:
        raise BadFile(path, "does not define its orientation (it has no affine)", fix)
    try:
        affine = np.asarray(image.affine, dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise BadFile(path, f"has a broken orientation ({error})", "fix its header or convert it again") from error
    return affine


def _check_affine(path: Path, affine: np.ndarray) -> None:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadFile(path, "has a degenerate affine (an axis without length)", "fix its header or convert it again")
    if np.isnan(orientations.io_orientation(affine)).any():
        raise BadFile(path, "has an affine that does not define three axes", "fix its header or convert it again")
