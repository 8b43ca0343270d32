"""A patient's scans, maps and masks as 8-bit volumes on one grid, small enough to be embedded in a page."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.predict.geometry import Grid, resample, same_grid, to_volume
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Bool, Float, Float32, Shaped, UInt8

    from anyadbench.predict.prediction import Prediction, SliceScore

MARGIN = 2
"""Voxels kept around what the scans show."""

MAX_VOXELS = 16_000_000
"""Voxels other than 0 of all scans, and ``MAP_WEIGHT`` of those of all maps, above which a page draws them coarser.
Noise does not compress: that many random voxels fill 22 MB."""

MAP_WEIGHT = 0.3
"""Size of a compressed map against that of a scan: maps are smooth."""

UNNUMBERED = 255
"""Mark of a voxel of all clusters from this number on: a mask of so many is no list of findings."""

orientations: Any = nibabel.orientations
_LPS = orientations.axcodes2ornt("LPS")


@dataclass(frozen=True, eq=False)
class Layer:
    """One 8-bit volume.

    Attributes:
        values: 0 is ``low`` or less, 255 is ``high`` or more.
        low: Value of 0, in units of the scan or map.
        high: Value of 255.
    """

    values: UInt8[np.ndarray, "x y z"]
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class MapLayers:
    """An anomaly map and its mask.

    Attributes:
        map: The map; ``low`` outside the brain.
        marks: Number of the cluster that a voxel belongs to, at most ``UNNUMBERED``; 0 outside the mask.
        scale: Ends of the colour scale: the median in the brain, so that most tissue stays grey; near the top.
    """

    map: Layer
    marks: UInt8[np.ndarray, "x y z"]
    scale: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Scene:
    """What a page draws, in LPS order, cut to what the scans show.

    Attributes:
        scans: By sequence, in the order of ``SEQUENCES``.
        whole: The first input's grid.
        brain: Where any shown sequence is not 0, on that grid.
        box: Part of that grid that is drawn.
        steps: Voxels of that grid in one drawn voxel, along x, y and z.
        native: Affine of the first input's file.
    """

    scans: dict[str, Layer]
    whole: Grid
    brain: Bool[np.ndarray, "X Y Z"]
    box: tuple[slice, slice, slice]
    steps: tuple[int, int, int]
    native: Float[np.ndarray, "4 4"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths of the three axes as drawn."""
        x, y, z = (-(-(part.stop - part.start) // step) for part, step in zip(self.box, self.steps, strict=True))
        return x, y, z

    @property
    def start(self) -> tuple[int, int, int]:
        """Index of the first drawn voxel on the first input's grid."""
        x, y, z = (part.start for part in self.box)
        return x, y, z

    @property
    def affine(self) -> Float[np.ndarray, "4 4"]:
        """From indices of drawn voxels to NIfTI world coordinates (mm, RAS+)."""
        inner = np.diag([*self.steps, 1.0])
        inner[:3, 3] = np.array(self.start) + (np.array(self.steps) - 1) / 2
        return np.asarray(self.whole.affine @ inner)

    @property
    def to_file(self) -> Float[np.ndarray, "4 4"]:
        """From indices of drawn voxels to voxel indices of the first input's file."""
        return np.asarray(np.linalg.inv(self.native) @ self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of a drawn voxel along the three axes in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def place(self, index: Iterable[float]) -> tuple[int, int, int]:
        """Return the drawn voxel that contains a voxel of the first input's file."""
        there = np.linalg.inv(self.to_file) @ np.array([*index, 1.0])
        x, y, z = (int(v) for v in np.clip(np.rint(there[:3]), 0, np.array(self.shape) - 1))
        return x, y, z

    def slice_of(self, item: SliceScore) -> int:
        """Return the drawn axial slice that shows a scored slice.

        The two are of one stack, unless the scored slices are tilted against the file's: then it is the one with the
        nearest height at its centre.
        """
        x, y, z = self.shape
        if item.file_index is not None:
            return int(np.clip((item.slice - self.start[2]) // self.steps[2], 0, z - 1))
        centre = self.affine @ np.array([(x - 1) / 2, (y - 1) / 2, 0, 1])
        return int(np.clip(round((item.height_mm - centre[2]) / self.affine[2, 2]), 0, z - 1))

    def coarser(self, array: Shaped[np.ndarray, "X Y Z"], join: Callable[..., Any]) -> np.ndarray:
        """Return the drawn part of an array on the first input's grid; ``join`` makes one voxel of several."""
        return _coarser(array[self.box], self.steps, join)


def scene_of(prediction: Prediction, n_maps: int = 1, max_voxels: int = MAX_VOXELS) -> Scene:
    """Return the inputs of a prediction on the first input's grid.

    Where a page would get too large, neighbours are drawn as one voxel: the mean of scans, the maximum of maps and
    masks, so that no peak is lost.
    """
    whole = grid_of_map(prediction)
    arrays = {name: _on_grid(prediction, name, whole) for name in SHORT if name in prediction.volumes}
    brain = lps(prediction.brain, prediction.affine)
    box = _box([*arrays.values(), brain])
    filled = sum(int(np.count_nonzero(array)) for array in arrays.values())
    filled += round(MAP_WEIGHT * n_maps * int(np.count_nonzero(brain)))
    steps = _steps(filled / max_voxels, np.linalg.norm(whole.affine[:3, :3], axis=0))
    scans = {
        name: _layer(_coarser(array[box], steps, np.mean), *_grey_ends(array)) for name, array in arrays.items()
    }  # fmt: skip
    return Scene(scans, whole, brain, box, steps, prediction.affine)


def map_layers(prediction: Prediction, scene: Scene) -> MapLayers:
    """Return map and mask of a prediction of the same patient, perhaps from other sequences on another grid."""
    own = grid_of_map(prediction)
    found = np.asarray(lps(prediction.map, prediction.affine), dtype=np.float32)
    marks = _marks(prediction)
    if not same_grid(own, scene.whole):
        found, marks = resample(found, own, scene.whole, keep_background=False), _nearest(marks, own, scene.whole)
    seen = found[scene.brain].astype(np.float64)
    low, middle, near_top, high = (float(v) for v in np.quantile(seen, (0.0, 0.5, 0.999, 0.9999)))
    if prediction.threshold is not None:  # a few extreme voxels do not coarsen the 8 bits, but a threshold is inside
        high = max(high, min(prediction.threshold, float(found.max())))
    drawn = scene.coarser(np.where(scene.brain, found, np.float32(low)), np.max)
    tiny = 1e-6 * max(1e-20, abs(high))
    return MapLayers(
        map=_layer(drawn, low, max(high, low + tiny)),
        marks=scene.coarser(marks, np.max),
        scale=(middle, max(near_top, middle + tiny)),
    )


def encode(values: UInt8[np.ndarray, "x y z"]) -> str:
    """Return a volume as base64 of gzip of each voxel's difference from its anterior neighbour (modulo 256).

    Voxels are in the order z, y, x, with x the fastest. Differences take a fifth less than the values.
    """
    rows = np.ascontiguousarray(values.transpose(2, 1, 0))
    steps = np.diff(rows, axis=1, prepend=np.uint8(0)).astype(np.uint8)
    return base64.b64encode(gzip.compress(steps.tobytes(), 6, mtime=0)).decode("ascii")


def lps(array: Shaped[np.ndarray, "a b c"], affine: Float[np.ndarray, "4 4"]) -> Shaped[np.ndarray, "x y z"]:
    """Return an array on a file's own axes in LPS order."""
    return np.asarray(orientations.apply_orientation(array, _turn(affine)))


def grid_of_map(prediction: Prediction) -> Grid:
    """Return the grid of a prediction's map in LPS order."""
    turn, shape = _turn(prediction.affine), prediction.map.shape
    lengths = {int(target): shape[axis] for axis, (target, _) in enumerate(turn)}
    affine = prediction.affine @ orientations.inv_ornt_aff(turn, shape)
    return Grid((lengths[0], lengths[1], lengths[2]), np.asarray(affine))


def _turn(affine: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 2"]:
    return np.asarray(orientations.ornt_transform(orientations.io_orientation(affine), _LPS))


def _on_grid(prediction: Prediction, name: str, grid: Grid) -> Float32[np.ndarray, "x y z"]:
    return np.asarray(to_volume(prediction.volumes[name], grid).array, dtype=np.float32)


def _box(volumes: list[np.ndarray]) -> tuple[slice, slice, slice]:
    seen = np.logical_or.reduce([volume != 0 for volume in volumes])
    parts = []
    for axis in range(3):
        there = np.flatnonzero(seen.any(axis=tuple({0, 1, 2} - {axis})))
        parts.append(slice(max(0, int(there[0]) - MARGIN), min(seen.shape[axis], int(there[-1]) + 1 + MARGIN)))
    return parts[0], parts[1], parts[2]


def _steps(ratio: float, spacing: Float[np.ndarray, " 3"]) -> tuple[int, int, int]:
    """Return how many voxels are drawn as one along each axis: first along those with the smallest spacing."""
    steps = np.ones(3, int)
    while np.prod(steps) < ratio:
        size = steps * spacing
        steps[size <= size.min() * 1.01] += 1
    return int(steps[0]), int(steps[1]), int(steps[2])


def _coarser(array: np.ndarray, steps: tuple[int, int, int], join: Callable[..., Any]) -> np.ndarray:
    if steps == (1, 1, 1):
        return array
    padded = np.pad(array, [(0, -n % step) for n, step in zip(array.shape, steps, strict=True)], mode="edge")
    parts = [size for n, step in zip(padded.shape, steps, strict=True) for size in (n // step, step)]
    return np.asarray(join(padded.reshape(parts), axis=(1, 3, 5)))


def _layer(array: Float32[np.ndarray, "x y z"], low: float, high: float) -> Layer:
    level = np.clip((array - np.float32(low)) / np.float32(high - low), 0, 1)
    return Layer(np.rint(level * 255).astype(np.uint8), low, high)


def _grey_ends(array: Float32[np.ndarray, "x y z"]) -> tuple[float, float]:
    """Return the values drawn black and white: bright outliers are cut, as the intensity scales of protocols do."""
    seen = array[array != 0]
    low, high = np.quantile(seen, (0.001, 0.999)) if seen.size else (0.0, 1.0)
    return min(0.0, float(low)), float(high) if high > 0 else float(low) + 1


def _marks(prediction: Prediction) -> UInt8[np.ndarray, "x y z"]:
    numbers = lps(prediction.cluster_labels, prediction.affine)
    return np.minimum(numbers, UNNUMBERED).astype(np.uint8)


def _nearest(marks: UInt8[np.ndarray, "x y z"], source: Grid, target: Grid) -> UInt8[np.ndarray, "X Y Z"]:
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(source.affine) @ target.affine
    out = affine_transform(marks, matrix[:3, :3], matrix[:3, 3], output_shape=target.shape, order=0)
    return np.asarray(out, dtype=np.uint8)
