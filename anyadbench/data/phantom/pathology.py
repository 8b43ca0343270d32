"""What is wrong with a subject: the kind, place and size of each lesion, before any voxel exists."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.phantom.anatomy import Template
from anyadbench.data.phantom.grid import CENTRE
from anyadbench.data.phantom.spec import PhantomSpec, is_healthy, stream

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

KINDS = {"glioma": 0.4, "low-grade": 0.22, "metastases": 0.16, "infarct": 0.11, "plaques": 0.11}
"""Share of the patients with each kind of lesion."""

_LOWEST, _HIGHEST = -22.0, 50.0
"""Range in mm (MNI) of the centres: slices in which the brain fills a tenth of the field of view."""

_SLAB = 24.0
"""Largest distance in mm of a lesion's centre from the first one's height, so that lesion-free slices remain."""

_TALLEST = 26.0
"""Largest half height of a lesion in mm, for the same reason."""

_SMALLEST = 2.2
"""Smallest radius in voxels."""


@dataclass(frozen=True)
class Site:
    """One lesion.

    Attributes:
        kind: One of ``KINDS``.
        centre: Position in mm (MNI).
        radii: Half axes in mm; the first two lie in the axial plane, turned by ``turn``.
        turn: Angle in the axial plane.
        strength: Share of the voxels at its centre that it replaces.
        push: How far it displaces its surroundings, in mm.
    """

    kind: str
    centre: Float32[np.ndarray, " 3"]
    radii: Float64[np.ndarray, " 3"]
    turn: float
    strength: float
    push: float


def _radii(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, float]:
    """Return half axes and displacement in mm."""
    if kind == "glioma":
        size = rng.uniform(14, 30)
        return np.minimum(size * rng.uniform(0.75, 1.25, 3), [40, 40, _TALLEST]), 0.2 * size
    if kind == "low-grade":
        size = rng.uniform(10, 24)
        return np.minimum(size * rng.uniform(0.7, 1.3, 3), [40, 40, _TALLEST]), 0.1 * size
    if kind == "metastases":
        size = float(np.exp(rng.uniform(np.log(3.0), np.log(11.0))))
        return size * rng.uniform(0.85, 1.15, 3), 0.15 * size
    if kind == "infarct":
        size = rng.uniform(6, 17)
        return size * rng.uniform(0.6, 1.3, 3), 0.0
    size = float(np.exp(rng.uniform(np.log(2.9), np.log(8.5))))
    return size * rng.uniform(0.7, 1.4, 3), 0.0


_STRENGTH = {
    "glioma": (0.5, 1.0), "low-grade": (0.35, 0.85), "metastases": (0.6, 1.0), "infarct": (0.6, 1.0),
    "plaques": (0.4, 0.95),
}  # fmt: skip
_PLACES = {"infarct": "cortex", "plaques": "near"}


def _count(rng: np.random.Generator, kind: str, shift: bool) -> int:
    if kind == "plaques":
        return int(rng.integers(6, 15) if shift else rng.integers(3, 11))
    if kind == "metastases":
        return int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))
    return int(rng.choice([1, 2], p=[0.85, 0.15]))


def plan(spec: PhantomSpec, number: int, atlas: Template) -> list[Site]:
    """Return the lesions of a subject, all of one kind and near one height; none if the subject is healthy."""
    if is_healthy(number):
        return []
    rng = stream(spec, number, "lesions")
    kind = "plaques" if spec.shift else str(rng.choice(list(KINDS), p=list(KINDS.values())))
    choices = atlas.sites[_PLACES.get(kind, "deep")]
    choices = choices[(choices[:, 2] > _LOWEST) & (choices[:, 2] < _HIGHEST)]
    first = choices[int(rng.integers(len(choices)))]
    around = choices[np.abs(choices[:, 2] - first[2]) < _SLAB * (0.8 if kind == "plaques" else 0.5)]
    smallest = np.array([*(2 * [_SMALLEST * max(spec.spacing[:2])]), 0.5 * spec.spacing[2]])
    sites = []
    for index in range(_count(rng, kind, spec.shift)):
        centre = first if index == 0 else around[int(rng.integers(len(around)))]
        radii, push = _radii(rng, kind)
        strength = float(rng.uniform(*_STRENGTH[kind]))
        site = Site(kind, centre, np.maximum(radii, smallest), float(rng.uniform(0, np.pi)), strength, push)
        # A second focus of one tumour is smaller.
        small = index > 0 and kind in ("glioma", "low-grade", "infarct")
        sites.append(replace(site, radii=np.maximum(0.5 * radii, smallest), push=0.5 * push) if small else site)
    return sites


def placed(site: Site, scale: np.ndarray, turn: np.ndarray) -> Site:
    """Return the lesion with its centre in mm from the grid's centre, in a head of this size and posture.

    Args:
        site: The lesion in the average brain.
        scale: Size of the head along each axis, relative to the average.
        turn: Rotation about each axis, small enough to add.
    """
    x, y, z = (site.centre - np.array(CENTRE)) * scale
    rx, ry, rz = turn
    centre = np.array([x + rz * y - ry * z, y - rz * x + rx * z, z + ry * x - rx * y], dtype=np.float32)
    return replace(site, centre=centre)
