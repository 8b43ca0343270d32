"""The average brain from which every subject is deformed: ICBM 152 (2009), shipped with nilearn at 1 mm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from anyadbench.data.phantom import landmarks
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float32

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_MARGIN = 6


@dataclass(frozen=True)
class Template:
    """Maps of the average brain on one grid in RAS order.

    Attributes:
        names: Maps: ``wm``, ``gm`` and ``csf`` (shares that sum to the brain mask), ``brain`` (soft mask),
            ``ventricles`` (soft and wide, 0 far away to 1 inside), and the structures of ``landmarks``.
        maps: Their values, those of one voxel side by side.
        whole: ``brain`` and ``ventricles`` again, each in one piece, which is faster to look up alone.
        sites: Positions in mm (MNI) where lesions may lie: ``deep`` in white matter, ``near`` the ventricles, and
            ``cortex``.
        origin: Position of the first voxel in mm.
        step: Size of a voxel in mm.
    """

    names: tuple[str, ...]
    maps: Float32[np.ndarray, "x y z m"]
    whole: dict[str, Float32[np.ndarray, "x y z"]]
    sites: dict[str, Float32[np.ndarray, "n 3"]]
    origin: tuple[float, float, float]
    step: float


def _read(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one of nilearn's maps, scaled to 0..1, and its affine; skips nilearn's import, which takes seconds."""
    import nibabel

    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise UserError("The phantom needs the brain maps that ship with nilearn; pip install nilearn.")
    path = Path(package.origin).parent / "datasets" / "data" / _FILE.format(kind)
    if not path.is_file():
        raise UserError(f"{path} is missing from the installed nilearn; pip install 'nilearn>=0.10'.")
    image = nibabel.nifti1.load(path)  # type: ignore[no-untyped-call]
    data = np.asarray(image.dataobj, dtype=np.float32)
    return data / data.max(), np.asarray(image.affine)


def _pooled(volume: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of ``factor`` voxels along each axis, dropping the remainder."""
    sizes = [size // factor for size in volume.shape]
    kept = volume[tuple(slice(0, size * factor) for size in sizes)]
    blocks = kept.reshape(sizes[0], factor, sizes[1], factor, sizes[2], factor)
    return np.ascontiguousarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _blur(volume: np.ndarray, sigma: float) -> np.ndarray:
    blurred: np.ndarray = ndimage.gaussian_filter(volume, sigma, truncate=3.0)
    return blurred


def _brain(tissue: np.ndarray) -> np.ndarray:
    """Return the largest component of a mask without its holes: the optic nerves come off as islands."""
    found: np.ndarray = _largest(tissue)
    # What cannot be reached from outside is a hole; far faster than growing the outside voxel by voxel.
    outside, _ = ndimage.label(np.pad(~found, 1, constant_values=True))
    return (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    kept: np.ndarray = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if count > 1 else mask
    return kept


def _tissues(t1: np.ndarray, gm: np.ndarray, wm: np.ndarray, mask: np.ndarray, step: float) -> dict[str, np.ndarray]:
    """Split the brain into white matter, grey matter and CSF, with the sulci opened.

    Averaging many heads closes the sulci in the tissue maps; the T1 template still shows them, as grey matter that is
    darker than its surroundings.
    """
    gm, wm = gm * mask, wm * mask
    csf = np.clip(mask - gm - wm, 0, 1)
    around = _blur(t1 * gm, 4 / step) / np.maximum(_blur(gm, 4 / step), 1e-3)
    sulci = np.clip((around - t1) * 5, 0, 0.85) * gm
    return {"wm": wm, "gm": gm - sulci, "csf": csf + sulci}


def _sites(
    maps: dict[str, np.ndarray], depth: np.ndarray, origin: tuple[float, float, float], step: float
) -> dict[str, np.ndarray]:
    """Return where lesions may lie, of every other voxel per axis; ``depth`` is 0 outside the brain, 1 well inside."""
    wm, gm, ventricles = (maps[name][::2, ::2, ::2] for name in ("wm", "gm", "ventricles"))
    depth = depth[::2, ::2, ::2]
    masks = {
        "deep": (wm > 0.6) & (depth > 0.9) & (ventricles < 0.25),
        "near": (wm > 0.6) & (depth > 0.85) & (ventricles > 0.03),
        "cortex": (gm > 0.5) & (depth > 0.6) & (depth < 0.95),
    }
    corner = np.array(origin, dtype=np.float32)
    return {name: corner + np.float32(2 * step) * np.argwhere(m).astype(np.float32) for name, m in masks.items()}


@lru_cache(maxsize=2)
def template(factor: int, thickness: float) -> Template:
    """Return the average brain at ``factor`` mm, averaged over slices of ``thickness`` mm.

    Raises:
        UserError: If nilearn, or one of its maps, is not installed.
    """
    (t1, affine), (gm, _), (wm, _) = _read("t1"), _read("gm"), _read("wm")
    mask = _brain(t1 > 0.2)
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(max(int(s[0]) - _MARGIN, 0), int(s[-1]) + 1 + _MARGIN) for s in spans)
    t1, gm, wm, brain = (_pooled(volume[box].astype(np.float32), factor) for volume in (t1, gm, wm, mask))
    first = np.array([part.start for part in box], dtype=float) + (factor - 1) / 2
    corner = affine[:3, :3] @ first + affine[:3, 3]
    origin = (float(corner[0]), float(corner[1]), float(corner[2]))
    axes = tuple(
        (origin[axis] + factor * np.arange(brain.shape[axis], dtype=np.float32)).reshape(
            [-1 if axis == k else 1 for k in range(3)]
        )
        for axis in range(3)
    )
    maps = _tissues(t1, gm, wm, brain, factor)
    # An ellipsoid around the lateral and third ventricles, with soft edges: other CSF is not ventricle.
    x, y, z = axes
    near = np.clip(4 * (1.15 - np.sqrt((x / 38) ** 2 + ((y + 12) / 50) ** 2 + ((z - 14) / 26) ** 2)), 0, 1)
    maps["ventricles"] = np.clip(_blur(np.clip(brain - gm - wm, 0, 1) * near, 3.5 / factor) * 1.8, 0, 1)
    sites = _sites(maps, _blur(brain, 7 / factor), origin, factor)
    maps |= landmarks.structures(axes, brain, _blur(brain, 1.5 / factor), np.clip(brain - gm - wm, 0, 1) * near)
    maps["brain"] = _blur(brain, 1 / factor)
    # A slice shows the mean over its thickness.
    layers = max(1, round(thickness / factor))
    stack = np.empty((*brain.shape, len(maps)), dtype=np.float32)
    for place, values in enumerate(maps.values()):
        stack[..., place] = ndimage.uniform_filter1d(values.astype(np.float32), layers, axis=2)
    names = tuple(maps)
    whole = {name: np.ascontiguousarray(stack[..., names.index(name)]) for name in ("brain", "ventricles")}
    return Template(names, stack, whole, sites, origin, factor)
