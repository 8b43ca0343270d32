"""One head: the average brain deformed, displaced by its lesions, aged, and folded in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from anyadbench.data.phantom.anatomy import Template, template
from anyadbench.data.phantom.fields import smooth_noise, smoothstep
from anyadbench.data.phantom.grid import CENTRE, Grid
from anyadbench.data.phantom.pathology import Site, placed, plan
from anyadbench.data.phantom.sampling import interpolated
from anyadbench.data.phantom.spec import PhantomSpec, stream

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

_WARPS = ((30.0, 3.6), (9.0, 1.2))
"""Knot spacing and standard deviation, in mm, of the displacement: first the head's shape, then its folds."""

_SIZE = 0.94
"""Mean length of a head along each axis, relative to ICBM 152, whose brain is larger than most."""

_SHARPNESS = 1.8
"""Exponent that turns tissue probabilities, averaged over many heads, into the tissue shares of one head."""

_OPEN = 0.72
"""Share of fluid in a voxel in the middle of a sulcus."""

_OUTSIDE = 0.05
"""Soft brain mask below which a voxel is never kept: skull stripping leaves at most what lies above 0.15."""

_COARSE = 3
"""Voxels in the plane between the points at which the extent of a structure is looked up."""

_FILLED = 0.6
"""Share of a slice's spacing that its thickness fills; the rest is the gap between slices."""


@dataclass
class Head:
    """A head without the tissue of its lesions, on the part of the grid that holds it.

    Attributes:
        grid: That part.
        shares: Share of ``wm``, ``gm``, ``csf``, ``oedema`` (from ageing), ``blood``, ``plexus``, ``dura``, ``fat``
            and ``void`` (bone and air) in each voxel, 1 in total.
        brain: Mask that remains after skull stripping.
        ventricles: Proximity to the ventricles, from 0 to 1.
        iron: Amount of iron in deep nuclei, from 0 to 1.
        limbic: Share of limbic cortex.
        sites: Lesions, their centres in mm from the grid's centre.
    """

    grid: Grid
    shares: dict[str, Float32[np.ndarray, "x y z"]]
    brain: Bool[np.ndarray, "x y z"]
    ventricles: Float32[np.ndarray, "x y z"]
    iron: Float32[np.ndarray, "x y z"]
    limbic: Float32[np.ndarray, "x y z"]
    sites: tuple[Site, ...] = ()


def _sample(volume: np.ndarray, source: np.ndarray) -> np.ndarray:
    sampled: np.ndarray = ndimage.map_coordinates(volume, source, order=1, mode="constant", prefilter=False)
    return sampled


def _near(volume: np.ndarray, source: np.ndarray, least: float) -> np.ndarray:
    """Return where a map of the template may exceed ``least``, looked up at every few points and widened by as many."""
    coarse = _sample(volume, source[:, ::_COARSE, ::_COARSE]) > least
    coarse = ndimage.binary_dilation(coarse, np.ones((3, 3, 1), dtype=bool))
    width, length = source.shape[1:3]
    return np.repeat(np.repeat(coarse, _COARSE, axis=0)[:width], _COARSE, axis=1)[:, :length]


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the smallest box around a mask; everything if it is empty."""
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    cuts = [slice(int(s[0]), int(s[-1]) + 1) if len(s) else slice(None) for s in spans]
    return cuts[0], cuts[1], cuts[2]


def _displace(source: np.ndarray, site: Site, grid: Grid) -> None:
    """Move source points towards a lesion's centre, in place: its surroundings are pushed outwards."""
    if site.push <= 0:
        return
    size = float(site.radii.mean())
    offsets = [line - np.float32(c) for line, c in zip(grid.axes(), site.centre, strict=True)]
    distance = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2) / np.float32(size)
    # Largest at the lesion's border, half as large at twice the distance.
    amount = np.float32(site.push / size * 1.65) * np.exp(np.float32(-0.5) * np.minimum(distance, 6) ** np.float32(1.4))
    for axis in range(3):
        source[axis] -= amount * offsets[axis]


def _source(
    rng: np.random.Generator, grid: Grid, atlas: Template, sites: Sequence[Site]
) -> tuple[np.ndarray, tuple[Site, ...]]:
    """Return the source of each voxel in the template, in template voxels, and the lesions in the grid's mm."""
    x, y, z = grid.axes()
    turn = rng.normal(0, 0.05, 3)
    scale = rng.normal(_SIZE, [0.035, 0.03, 0.03])
    rx, ry, rz = turn.tolist()
    # Enlarging the head moves source points towards the template's centre; the rotations are small enough to add.
    straight = (x - rz * y + ry * z, y + rz * x - rx * z, z - ry * x + rx * y)
    here = tuple(placed(site, scale, turn) for site in sites)
    source = np.empty((3, *grid.shape), dtype=np.float32)
    for axis in range(3):
        source[axis] = straight[axis] / np.float32(scale[axis]) + np.float32(CENTRE[axis])
        for knots, size in _WARPS:
            source[axis] += np.float32(size) * smooth_noise(rng, grid.shape, grid.spacing, knots)
    for site in here:
        _displace(source, site, grid)
    source -= np.array(atlas.origin, dtype=np.float32).reshape(3, 1, 1, 1)
    source /= np.float32(atlas.step)
    return source, here


def _widen(source: np.ndarray, atlas: Template, grid: Grid, millimetres: float) -> None:
    """Move the ventricle walls outwards by up to ``millimetres``, in place."""
    near = source[(slice(None), *_box(_near(atlas.whole["ventricles"], source, 0.0)))]
    ventricles = _sample(atlas.whole["ventricles"], near)
    for axis, (sign, spacing) in enumerate(zip((-1, -1, 1), grid.spacing, strict=True)):
        slope = np.gradient(ventricles, axis=axis) * np.float32(sign / spacing)
        near[axis] += slope * np.float32(millimetres / 0.08 / atlas.step)


def _sharpened(
    rng: np.random.Generator, raw: dict[str, np.ndarray], ventricles: np.ndarray, grid: Grid, age: float
) -> dict[str, np.ndarray]:
    """Return tissue shares that sum to 1, with borders unique to this head."""
    lean = {name: smooth_noise(rng, grid.shape, grid.spacing, 2.3) * np.float32(0.75) for name in ("wm", "csf")}
    # Lobes shrink and fold differently.
    lean["csf"] += smooth_noise(rng, grid.shape, grid.spacing, 35.0) * np.float32(0.25)
    weight = {"wm": float(np.exp(rng.normal(0, 0.08))), "gm": 1.1, "csf": (0.4 + 0.6 * age) * rng.uniform(0.8, 1.25)}
    shares = {}
    for name, share in raw.items():
        odds = np.maximum(share, 1e-4) * np.float32(weight[name])
        if name in lean:
            odds *= np.exp(lean[name])
        shares[name] = odds ** np.float32(_SHARPNESS)
    total = shares["wm"] + shares["gm"] + shares["csf"]
    shares = {name: share / total for name, share in shares.items()}
    # Sulci are narrower than a voxel, so fluid fills them in part; ventricles are wide.
    closed = np.float32(1 - _OPEN) * shares["csf"] * (1 - smoothstep(ventricles, 0.2, 0.6))
    return shares | {"csf": shares["csf"] - closed, "gm": shares["gm"] + closed}


def _vessels(rng: np.random.Generator, csf: np.ndarray, maps: dict[str, np.ndarray], grid: Grid) -> np.ndarray:
    """Return the blood share: the sagittal sinus, basal arteries, and vessels in sulci and white matter."""
    speckle = smooth_noise(rng, grid.shape, grid.spacing, 2.4)
    stretches = smoothstep(speckle, 1.1, 2.1) * csf * np.float32(0.3) * (1 - maps["ventricles"])
    within = smoothstep(speckle, 2.3, 3.2) * np.float32(0.5)
    arteries = np.float32(1.1) * maps["arteries"] * np.float32(rng.uniform(0.5, 1.0))
    share: np.ndarray = np.clip(maps["sinus"] * np.float32(0.9) + stretches + within + arteries, 0, 1)
    return share


def _caps(rng: np.random.Generator, maps: dict[str, np.ndarray], grid: Grid, age: float) -> np.ndarray:
    """Return the share of age-related tissue, bright in FLAIR: caps and bands around the ventricles, and specks."""
    rim = smoothstep(maps["ventricles"], 0.12, 0.4)
    patches = np.clip(0.55 + 0.5 * smooth_noise(rng, grid.shape, grid.spacing, 8.0), 0, 1)
    specks = smoothstep(smooth_noise(rng, grid.shape, grid.spacing, 3.0), 2.4, 3.2)
    band = np.float32(0.22 + 0.35 * age) * rim * patches
    caps = np.float32(0.35 + 0.6 * age) * smoothstep(maps["ventricles"], 0.05, 0.3) * maps["horns"] * patches
    share: np.ndarray = np.clip(band + caps + np.float32(0.4 * age**2) * specks, 0, 0.85)
    return share


def _rims(rng: np.random.Generator, soft: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mask that skull stripping leaves, and the shares of meninges or scalp, and of bone, at its border."""
    # Below 1, or the noise would cut holes into the brain.
    wander = smooth_noise(rng, grid.shape, grid.spacing, 7.0)
    ragged = np.clip(0.5 + 0.16 * wander, 0.15, 0.85)
    mask = soft > ragged
    left = smoothstep(smooth_noise(rng, grid.shape, grid.spacing, 9.0), 0.2, 1.3)
    edge = np.clip(1.6 - 2.2 * soft, 0, 1)
    return mask, left * edge, (1 - left) * edge * np.float32(rng.uniform(0.6, 1.0))


def grow(spec: PhantomSpec, number: int, grid: Grid) -> Head:
    """Return the head of a subject, displaced by its lesions, whose tissue is not yet in it.

    Args:
        spec: The phantom.
        number: The subject.
        grid: The block in which the head is placed.
    """
    rng = stream(spec, number, "anatomy")
    atlas = template(max(1, round(min(spec.spacing) / 1.5)), _FILLED * spec.spacing[2])
    age = float(rng.beta(1.5, 1.5))
    source, sites = _source(rng, grid, atlas, plan(spec, number, atlas))
    # Nothing is shown of the rest, which is most of the block.
    inside = _near(atlas.whole["brain"], source, _OUTSIDE)
    cuts = _box(inside)
    grid, source, inside = grid.part(cuts), source[(slice(None), *cuts)], inside[cuts]
    _widen(source, atlas, grid, -0.7 + rng.uniform(2.0, 3.6) * age)
    maps = {}
    for name, values in zip(atlas.names, interpolated(atlas.maps, source[:, inside]), strict=True):
        maps[name] = np.zeros(grid.shape, dtype=np.float32)
        maps[name][inside] = values
    brain, border, bone = _rims(rng, maps["brain"], grid)
    shares = _sharpened(rng, {name: maps[name] for name in ("wm", "gm", "csf")}, maps["ventricles"], grid, age)
    caps = _caps(rng, maps, grid, age) * shares["wm"]
    shares["wm"] = shares["wm"] - caps
    shares["oedema"] = caps
    wall = np.clip(np.float32(rng.uniform(0.3, 0.9)) * maps["septum"], 0, 1) * shares["csf"]
    shares["csf"], shares["gm"] = shares["csf"] - wall, shares["gm"] + wall
    fat = border * np.float32(rng.uniform(0.1, 0.8))
    others = {
        "blood": _vessels(rng, shares["csf"], maps, grid),
        "plexus": np.clip(maps["plexus"] * np.float32(rng.uniform(0.5, 1.2)), 0, 1),
        "dura": np.clip(np.float32(0.5) * maps["falx"] + border - fat, 0, 1),
        "fat": fat,
        "void": bone,
    }
    for name, share in others.items():
        shares = {other: value * (1 - share) for other, value in shares.items()}
        shares[name] = share
    return Head(
        grid, shares, brain, maps["ventricles"], maps["iron"], maps["limbic"] * shares["gm"], sites
    )  # fmt: skip
