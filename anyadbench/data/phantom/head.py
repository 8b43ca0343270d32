"""One healthy head: the average brain deformed, aged, and folded in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from anyadbench.data.phantom.anatomy import Template, template
from anyadbench.data.phantom.fields import smooth_noise, smoothstep
from anyadbench.data.phantom.grid import CENTRE, Grid
from anyadbench.data.phantom.spec import PhantomSpec, stream

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

_WARPS = ((26.0, 2.7), (9.0, 1.0))
"""Knot spacing and standard deviation, in mm, of the displacement: first the head's shape, then its folds."""

_SHARPNESS = 1.7
"""Exponent that turns tissue probabilities, averaged over many heads, into the tissue shares of one head."""


@dataclass
class Head:
    """A healthy head on one grid.

    Attributes:
        shares: Share of ``wm``, ``gm``, ``csf``, ``oedema`` (from ageing) and ``blood`` in each voxel, 1 in total.
        brain: Mask that remains after skull stripping.
        ventricles: Proximity to the ventricles, from 0 to 1.
        depth: About 0 outside the brain, 1 well inside.
    """

    shares: dict[str, Float32[np.ndarray, "x y z"]]
    brain: Bool[np.ndarray, "x y z"]
    ventricles: Float32[np.ndarray, "x y z"]
    depth: Float32[np.ndarray, "x y z"]


def _sample(volume: np.ndarray, source: np.ndarray) -> np.ndarray:
    sampled: np.ndarray = ndimage.map_coordinates(volume, source, order=1, mode="constant", prefilter=False)
    return sampled


def _source(rng: np.random.Generator, grid: Grid, atlas: Template) -> np.ndarray:
    """Return the source of each voxel in the template, in template voxels."""
    x, y, z = grid.axes()
    rx, ry, rz = rng.normal(0, 0.04, 3)
    scale = rng.normal(1.0, 0.025, 3)
    # Enlarging the head moves source points towards the template's centre; the rotations are small enough to add.
    straight = (x - rz * y + ry * z, y + rz * x - rx * z, z - ry * x + rx * y)
    source = np.empty((3, *grid.shape), dtype=np.float32)
    for axis in range(3):
        source[axis] = straight[axis] / scale[axis] + CENTRE[axis]
        for knots, size in _WARPS:
            source[axis] += np.float32(size) * smooth_noise(rng, grid.shape, grid.spacing, knots)
    return (source - np.array(atlas.origin, dtype=np.float32).reshape(3, 1, 1, 1)) / np.float32(atlas.step)


def _widen(source: np.ndarray, ventricles: np.ndarray, grid: Grid, millimetres: float, step: float) -> None:
    """Move the ventricle walls outwards by up to ``millimetres``, in place."""
    for axis, (sign, spacing) in enumerate(zip((-1, -1, 1), grid.spacing, strict=True)):
        slope = np.gradient(ventricles, axis=axis) * np.float32(sign / spacing)
        source[axis] += slope * np.float32(millimetres / 0.08 / step)


def _sharpened(rng: np.random.Generator, raw: dict[str, np.ndarray], grid: Grid, age: float) -> dict[str, np.ndarray]:
    """Return tissue shares that sum to 1, with borders unique to this head."""
    lean = {name: smooth_noise(rng, grid.shape, grid.spacing, 3.5) * np.float32(0.2) for name in ("wm", "csf")}
    weight = {"wm": 1.0, "gm": 1.2, "csf": 0.5 + 0.4 * age}
    shares = {}
    for name, share in raw.items():
        odds = np.maximum(share, 1e-4) * np.float32(weight[name])
        if name in lean:
            odds *= np.exp(lean[name])
        shares[name] = odds**_SHARPNESS
    total = shares["wm"] + shares["gm"] + shares["csf"]
    return {name: share / total for name, share in shares.items()}


def _vessels(
    rng: np.random.Generator, csf: np.ndarray, sinus: np.ndarray, ventricles: np.ndarray, grid: Grid
) -> np.ndarray:
    """Return the blood share: the sagittal sinus, and short stretches of vessels in the sulci."""
    speckle = smooth_noise(rng, grid.shape, grid.spacing, 3.0)
    stretches = smoothstep(speckle, 1.3, 2.2) * csf * np.float32(0.7) * (1 - ventricles)
    share: np.ndarray = np.clip(sinus * np.float32(0.9) + stretches, 0, 1)
    return share


def _caps(rng: np.random.Generator, ventricles: np.ndarray, grid: Grid, age: float) -> np.ndarray:
    """Return the share of age-related tissue, faintly bright in FLAIR, around ventricles and in specks."""
    rim = smoothstep(ventricles, 0.15, 0.45)
    patches = np.clip(0.6 + 0.5 * smooth_noise(rng, grid.shape, grid.spacing, 9.0), 0, 1)
    specks = smoothstep(smooth_noise(rng, grid.shape, grid.spacing, 3.0), 2.2, 3.0)
    return (0.1 + 0.45 * age) * rim * patches + 0.4 * age * specks


def grow(spec: PhantomSpec, number: int, grid: Grid) -> Head:
    """Return the healthy head of a subject."""
    rng = stream(spec, number, "anatomy")
    atlas = template(max(1, round(min(spec.spacing) / 1.5)))
    age = float(rng.beta(1.6, 1.6))
    source = _source(rng, grid, atlas)
    _widen(source, _sample(atlas.maps["ventricles"], source), grid, -0.5 + 2.3 * age, atlas.step)
    maps = {name: _sample(volume, source) for name, volume in atlas.maps.items()}
    # Below 1, or the noise would cut holes into the brain.
    ragged = np.clip(0.62 + 0.12 * smooth_noise(rng, grid.shape, grid.spacing, 5.0), 0.4, 0.85)
    brain = maps["brain"] > ragged
    shares = _sharpened(rng, {name: maps[name] for name in ("wm", "gm", "csf")}, grid, age)
    blood = _vessels(rng, shares["csf"], maps["sinus"], maps["ventricles"], grid)
    caps = _caps(rng, maps["ventricles"], grid, age) * shares["wm"]
    shares["wm"] = shares["wm"] - caps
    shares = {name: share * (1 - blood) for name, share in (shares | {"oedema": caps}).items()}
    return Head(shares | {"blood": blood}, brain, maps["ventricles"], maps["depth"])
