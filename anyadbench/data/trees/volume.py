"""Reading NIfTI volumes into one orientation, with checks that report what is wrong.

Arrays are in LPS order: the first index runs to the patient's left, the second to posterior, the third to superior.
The canonical axial slice ``k`` is ``array[:, :, k].T``: image rows run from anterior (top) to posterior, columns from
the patient's right to left, the radiological view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.data.store.ordering import in_index_order
from anyadbench.data.trees.nifti_file import affine_of, load_nifti, mm_of
from anyadbench.data.trees.problems import BadFile

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

orientations: Any = nibabel.orientations
"""nibabel's functions on axes; it ships no types."""

TOLERANCE_MM = 1e-3
"""Largest distance in mm between corresponding corners of two grids that count as the same."""

SMALLEST_MM, LARGEST_MM = 0.01, 100.0
"""Voxel sizes beyond which a header must be wrong, for example in its unit."""

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
        native_affine: The file's own affine, in mm.
        native_orientation: The file's axes as nibabel's orientation array.
        notes: What was repaired in the header, as predicates of a sentence about the file.
    """

    path: Path
    array: Shaped[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    native_affine: Float[np.ndarray, "4 4"]
    native_orientation: Float[np.ndarray, "3 2"]
    notes: tuple[str, ...] = ()

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

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return float(self.array.min()), float(self.array.max())

    @cached_property
    def shown(self) -> Bool[np.ndarray, "x y z"]:
        """Where the value is not 0."""
        return np.asarray(self.array != 0)

    @cached_property
    def ordered(self) -> Shaped[np.ndarray, "x y z"]:
        """The values in the order of their indices in memory."""
        return in_index_order(self.array)

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
    image, array, notes = load_nifti(Path(path))
    array = _one_volume(array)
    if array.ndim != 3:
        fix = "save one 3D volume per file" if array.ndim > 3 else "give a 3D volume"
        raise BadFile(path, f"has {array.ndim} axes {array.shape} where a volume has 3", fix)
    return _canonical(Path(path), image, array, notes), image.header


def volume_of(image: Any, name: str) -> Volume:
    """Return an image in memory (nibabel's ``Nifti1Image``, ``MGHImage`` and so on) as a volume.

    Raises:
        BadFile: As ``read_volume``; ``name`` stands for the file.
    """
    array = _one_volume(np.asanyarray(image.dataobj))
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
    image, array, notes = load_nifti(Path(path))
    if array.ndim == 5 and 1 in array.shape[3:]:  # ITK writes channels along the fifth axis
        array = array.squeeze(4 if array.shape[4] == 1 else 3)
    if array.ndim != 4 or array.shape[3] != len(channels):
        cause = f"has the shape {array.shape} where its layout has 4 axes, the last of length {len(channels)}"
        raise BadFile(path, cause, f"give the 4D image with {', '.join(channels)}, or choose another data set name")
    return {name: _canonical(Path(path), image, array[..., index], notes) for index, name in enumerate(channels)}


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
    return replace(volume, array=array.astype(np.uint8))


def check_siblings(first: Volume, other: Volume) -> None:
    """Check that two volumes of one scan lie on the same grid.

    Raises:
        BadFile: If the shape or affine of ``other`` differs; it names ``other``.
    """
    try:
        check_grid(other, first.shape, first.affine, f"its sibling {first.path.name}")
    except BadFile as bad:
        fix = f"resample it onto the grid of {first.path.name}, or give the co-registered version"
        raise BadFile(bad.file, bad.cause, fix) from None


def check_grid(
    volume: Volume, shape: tuple[int, int, int], affine: Float[np.ndarray, "4 4"], whose: str, voxels: float = 0.0
) -> None:
    """Check that a volume lies on a grid.

    Args:
        volume: The volume.
        shape: Lengths of the grid's axes.
        affine: From its indices to mm.
        whose: What the grid is of, for the sentence.
        voxels: Largest distance between corresponding corners in units of the smallest voxel size; at least
            ``TOLERANCE_MM``.

    Raises:
        BadFile: If the shape or affine differs.
    """
    if shape != volume.shape:
        cause = f"has the shape {volume.shape} (LPS) where {whose} has {shape}"
        raise BadFile(volume.path, cause, "resample it")
    corners = np.array(np.meshgrid(*[(0, length - 1) for length in shape], [1], indexing="ij")).reshape(4, -1)
    distance = float(np.abs((affine - volume.affine) @ corners)[:3].max())
    smallest = float(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min())
    if distance > max(TOLERANCE_MM, voxels * smallest):
        cause = f"has another affine than {whose} (up to {distance:.3g} mm apart)"
        raise BadFile(volume.path, cause, "resample it")


def read_map(path: Path) -> tuple[Volume, float]:
    """Read a map of another program, and how much of it float32 loses; see ``lost_in_float32``.

    Raises:
        BadFile: As ``read_volume``.
    """
    image, array, notes = load_nifti(path)
    array = _one_volume(array)
    middle = array[..., array.shape[-1] // 2]
    return _canonical(path, image, array, notes), lost_in_float32(middle)


def lost_in_float32(array: Shaped[np.ndarray, "*shape"]) -> float:
    """Return the share of an array's distinct values that are no longer distinct in float32, which scores are."""
    if array.dtype.kind not in "iuf" or np.can_cast(array.dtype, np.float32):
        return 0.0
    with np.errstate(over="ignore"):
        return 1 - len(np.unique(array.astype(np.float32))) / len(np.unique(array))


def _one_volume(array: np.ndarray) -> np.ndarray:
    """Drop trailing axes of length 1: one volume with a fourth axis is one volume."""
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array


def _canonical(path: Path, image: Any, array: np.ndarray, notes: tuple[str, ...] = ()) -> Volume:
    affine = affine_of(path, image)
    affine[:3] *= mm_of(path, image.header)
    return replace(canonical_volume(path, array, affine), notes=notes)


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
            cause = f"holds {bad} values that are NaN or infinite"
            if np.isnan(array[0, 0, 0]) and np.isnan(array).sum() == bad:
                raise BadFile(path, f"{cause}, its background among them", "set the background to 0")
            raise BadFile(path, cause, "fix or replace the image")
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    # NIfTI stores little or big endian; arithmetic and hashes need the machine's own.
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    native = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(native, _LPS)
    turned = np.asarray(orientations.apply_orientation(array, transform))
    return Volume(path, turned, affine @ orientations.inv_ornt_aff(transform, array.shape), affine, native)


def _check_affine(path: Path, affine: np.ndarray) -> None:
    if not np.isfinite(affine).all():
        raise BadFile(path, "has NaN or infinity in its affine", "fix its header or convert it again")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadFile(path, "has a degenerate affine (an axis without length)", "fix its header or convert it again")
    if np.isnan(orientations.io_orientation(affine)).any():
        raise BadFile(path, "has an affine that does not define three axes", "fix its header or convert it again")
    steps = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if steps.min() < SMALLEST_MM or steps.max() > LARGEST_MM:
        sizes = " x ".join(f"{step:.4g}" for step in steps)
        raise BadFile(path, f"has voxels of {sizes} mm", "correct the unit or the voxel size in its header")
