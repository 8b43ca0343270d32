"""The voxel grid of a phantom: BraTS orientation, and the central block that contains the brain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.phantom.spec import PhantomSpec

if TYPE_CHECKING:
    from jaxtyping import Float64

_HOLD = (176.0, 216.0)
"""Width and length in mm of the block in which a head is placed; the largest deformed brain fits inside."""

CENTRE = (0.0, -17.0, 5.0)
"""MNI position in mm of the centre of the field of view."""


@dataclass(frozen=True)
class Grid:
    """A block of voxels within the field of view.

    Attributes:
        shape: Voxels of the block towards left, posterior and superior.
        spacing: Voxel size in mm.
        box: Position of the block in the full array.
        field: Voxels of the full array.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    box: tuple[slice, slice, slice]
    field: tuple[int, int, int]

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the distances from the field's centre in mm towards right, anterior and superior, to broadcast."""
        signs = (-1.0, -1.0, 1.0)
        lines = [
            (sign * step * (np.arange(cut.start, cut.stop) - (size - 1) / 2)).astype(np.float32)
            for sign, step, size, cut in zip(signs, self.spacing, self.field, self.box, strict=True)
        ]
        return lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :]

    def part(self, cuts: tuple[slice, slice, slice]) -> Grid:
        """Return the part of the block that slices into its arrays choose."""
        moved = [slice(box.start + cut.start, box.start + cut.stop) for box, cut in zip(self.box, cuts, strict=True)]
        shape = (cuts[0].stop - cuts[0].start, cuts[1].stop - cuts[1].start, cuts[2].stop - cuts[2].start)
        return Grid(shape, self.spacing, (moved[0], moved[1], moved[2]), self.field)


def block(spec: PhantomSpec) -> Grid:
    """Return the central block of a phantom's field of view, over its full height."""
    slices = []
    for axis, hold in enumerate(_HOLD):
        # The same parity as the field of view keeps the block centred in it.
        size = min(spec.shape[axis], int(np.ceil(hold / spec.spacing[axis])))
        size -= (spec.shape[axis] - size) % 2
        start = (spec.shape[axis] - size) // 2
        slices.append(slice(start, start + size))
    slices.append(slice(0, spec.shape[2]))
    shape = (slices[0].stop - slices[0].start, slices[1].stop - slices[1].start, spec.shape[2])
    return Grid(shape, spec.spacing, (slices[0], slices[1], slices[2]), spec.shape)


def affine(spec: PhantomSpec) -> Float64[np.ndarray, "4 4"]:
    """Return the affine of BraTS: indices grow to the left, posterior and superior; the origin is posterior."""
    sx, sy, sz = spec.spacing
    matrix = np.diag([-sx, -sy, sz, 1.0])
    matrix[1, 3] = sy * (spec.shape[1] - 1)
    return matrix
