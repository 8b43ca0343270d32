"""Normal structures that are bright or dark in some sequence, placed by their MNI coordinates in the average brain."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

_PLEXUS = ((9, 4, 17), (12, -10, 19), (17, -24, 17), (23, -36, 11), (26, -40, 3), (29, -30, -7))
"""Choroid plexus: along the floor of the lateral ventricle, round its atrium and into the temporal horn."""

_ARTERIES = (
    (2, -22, -28), (3, -14, -20), (9, 4, -16), (16, 5, -15), (24, 3, -14), (32, 0, -12), (38, -2, -6), (41, -8, 2),
    (2, 18, -16), (2, 32, -6), (2, 38, 8), (14, -28, -14), (22, -38, -8),
)  # fmt: skip
"""Basilar, middle, anterior and posterior cerebral arteries."""

_IRON = (((18, -3, 0), (5, 8, 6), 1.0), ((11, -18, -10), (5, 5, 4), 0.8), ((5, -20, -6), (3.5, 3.5, 4), 0.7),
         ((15, -56, -33), (6, 7, 5), 0.7), ((25, 2, 2), (5, 11, 8), 0.45))  # fmt: skip
"""Pallidum, substantia nigra, red nucleus, dentate nucleus and putamen: centre, radii and amount of iron."""

_LIMBIC = (
    ((37, 4, -1), (6, 18, 11)),
    ((5, 24, 26), (5, 16, 9)),
    ((5, -12, 38), (5, 20, 7)),
    ((26, -22, -14), (7, 14, 6)),
)
"""Insula, cingulate gyrus in two parts, and hippocampus, whose cortex is brighter in FLAIR than the rest."""

_HORNS = ((18, 36, 4), (30, -60, 12), (24, 22, 18))
"""Where periventricular caps are thickest: around the frontal and occipital horns."""

Axes = tuple[np.ndarray, ...]


def _blob(axes: Axes, centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Return a Gaussian on both sides of the midline."""
    x, y, z = axes
    across = np.exp(-(((np.abs(x) - abs(centre[0])) / radii[0]) ** 2))
    along = np.exp(-(((y - centre[1]) / radii[1]) ** 2)) * np.exp(-(((z - centre[2]) / radii[2]) ** 2))
    return np.asarray(across * along, dtype=np.float32)


def _string(axes: Axes, points: tuple[tuple[float, float, float], ...], radius: float) -> np.ndarray:
    """Return a tube of Gaussian section through points."""
    line = np.array(points, dtype=float)
    total = np.zeros(np.broadcast_shapes(*(axis.shape for axis in axes)), dtype=np.float32)
    for first, last in pairwise(line):
        length = float(np.linalg.norm(last - first))
        if length > 22:  # the next branch, not a continuation
            continue
        for share in np.arange(0, 1, min(1.0, radius / length)):
            centre = tuple(first + share * (last - first))
            near = tuple(np.flatnonzero(np.abs(axes[k].ravel() - centre[k]) < 3 * radius) for k in (1, 2))
            if not all(len(part) for part in near):
                continue
            y, z = (slice(int(part[0]), int(part[-1]) + 1) for part in near)
            local = (axes[0], axes[1][:, y], axes[2][:, :, z])
            total[:, y, z] = np.maximum(total[:, y, z], _blob(local, centre, (radius, radius, radius)))
    return total


def structures(
    axes: Axes, brain: np.ndarray, softened: np.ndarray, fluid: np.ndarray
) -> dict[str, Float32[np.ndarray, "x y z"]]:
    """Return the maps of normal structures, from 0 to 1.

    Args:
        axes: Positions of the voxels in mm (MNI), to broadcast.
        brain: Brain mask.
        softened: Brain mask with a soft border.
        fluid: CSF in and around the ventricles.

    Returns:
        ``plexus`` (choroid plexus), ``septum`` (septum pellucidum), ``sinus`` (superior sagittal sinus), ``falx``,
        ``arteries``, ``iron``, ``horns`` (where caps lie) and ``limbic`` (cortex that is bright in FLAIR).
    """
    x, y, z = axes
    shell = np.clip(3 * (0.8 - softened), 0, 1)
    sheet = np.exp(-((x / 1.1) ** 2)).astype(np.float32)
    septum = sheet * ((y > -18) & (y < 24) & (z > 2) & (z < 26)) * np.clip(2 * fluid, 0, 1)
    falx = np.exp(-((x / 1.0) ** 2)) * ((z > 32) | (y > 45) | (y < -75)) * brain
    iron = np.zeros(brain.shape, dtype=np.float32)
    for centre, radii, amount in _IRON:
        iron = np.maximum(iron, np.float32(amount) * _blob(axes, centre, radii))
    limbic = np.zeros(brain.shape, dtype=np.float32)
    for centre, radii in _LIMBIC:
        limbic = np.maximum(limbic, _blob(axes, centre, radii))
    horns = np.zeros(brain.shape, dtype=np.float32)
    for place in _HORNS:
        horns = np.maximum(horns, _blob(axes, place, (13, 13, 15)))
    return {
        "plexus": _string(axes, _PLEXUS, 3.2) * np.clip(1.6 * fluid, 0, 1),
        "septum": septum,
        "sinus": np.exp(-((x / 3.0) ** 2)) * shell * ((z > 10) | (y < -70)),
        "falx": falx.astype(np.float32),
        "arteries": _string(axes, _ARTERIES, 1.9),
        "iron": iron,
        "horns": horns,
        "limbic": limbic,
    }
