"""Lesions: where they lie, their shape, and how they replace healthy tissue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.phantom.fields import smooth_noise, smoothstep
from anyadbench.data.phantom.grid import Grid
from anyadbench.data.phantom.head import Head
from anyadbench.data.phantom.spec import PhantomSpec, stream

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

CORE, OEDEMA, ENHANCING = 1, 2, 4
"""Labels of BraTS 2018."""


@dataclass
class Lesions:
    """Labels, and the share of each voxel that each lesion tissue takes."""

    labels: UInt8[np.ndarray, "x y z"]
    shares: dict[str, Float32[np.ndarray, "x y z"]] = field(default_factory=dict)


def _band(rng: np.random.Generator, head: Head, grid: Grid) -> tuple[float, float]:
    """Return centre and half height, in mm from the grid's centre, of the slab that contains all lesions."""
    area = head.brain.sum(axis=(0, 1))
    heights = grid.axes()[2].ravel()
    usable = heights[area > 0.45 * area.max()]
    # A slab of at most about a third of the head leaves slices far from any lesion in every subject.
    half = min(rng.uniform(20, 45), (usable[-1] - usable[0]) / 2.8) / 2
    return float(rng.uniform(usable[0] + 0.6 * half, usable[-1] - 0.6 * half)), float(half)


def _centre(rng: np.random.Generator, eligible: np.ndarray, height: float, grid: Grid) -> np.ndarray | None:
    """Return the position in mm of an eligible voxel in the slice nearest to a height, or ``None`` if none exists."""
    x, y, z = (line.ravel() for line in grid.axes())
    level = int(np.argmin(np.abs(z - height)))
    found = np.argwhere(eligible[:, :, level])
    if not len(found):
        return None
    i, j = found[int(rng.integers(len(found)))]
    return np.array([x[i], y[j], z[level]])


def _distance(rng: np.random.Generator, centre: np.ndarray, radii: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the distance from an ellipsoid's centre in units of its radii, rotated in the axial plane."""
    x, y, z = (line - c for line, c in zip(grid.axes(), centre, strict=True))
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (z / radii[2]) ** 2)
    return np.asarray(distance, dtype=np.float32)


def _tumour(rng: np.random.Generator, head: Head, grid: Grid, level: np.ndarray, into: Lesions) -> None:
    """Add one tumour with oedema around it; ``level`` falls from 1 at its centre through 0 at its border."""
    strength = np.float32(rng.uniform(0.82, 1.0))
    enhancing = rng.random() < 0.7
    # A lesion swells into the sulci, never into the ventricles.
    room = 1 - head.shares["csf"] * (np.float32(0.3) + np.float32(0.65) * smoothstep(head.ventricles, 0.05, 0.25))
    texture = 1 + np.float32(0.12) * smooth_noise(rng, grid.shape, grid.spacing, 5.0)
    # Oedema follows white matter and spares the cortex.
    spread = level + np.float32(0.22) * (head.shares["wm"] - np.float32(0.5))
    jagged = np.float32(0.1) * smooth_noise(rng, grid.shape, grid.spacing, 3.5)
    core = level + jagged - np.float32(rng.uniform(0.38, 0.6))
    whole, inner = smoothstep(spread, -0.12, 0.16), smoothstep(core, -0.03, 0.05)
    middle = smoothstep(core, 0.08, 0.2) if enhancing else np.zeros_like(core)
    parts = {"oedema": whole * (1 - inner), "rim": (inner - middle) * enhancing, "necrosis": middle * inner}
    parts["solid"] = inner * (not enhancing)
    for name, part in parts.items():
        share = np.clip(part * room * strength * texture, 0, 1)
        into.shares[name] = np.maximum(into.shares.get(name, np.float32(0)), share)
    inside = head.brain & (room > 0.5)
    into.labels[inside & (whole > 0.5) & (into.labels == 0)] = OEDEMA
    into.labels[inside & (inner > 0.5)] = CORE
    if enhancing:
        into.labels[inside & (inner > 0.5) & (middle <= 0.5)] = ENHANCING


def _level(
    rng: np.random.Generator, centre: np.ndarray, radii: np.ndarray, band: tuple[float, float], grid: Grid, rough: float
) -> np.ndarray:
    """Return the level of an irregular ellipsoid that ends at the edge of the slab."""
    noise = smooth_noise(rng, grid.shape, grid.spacing, float(0.45 * radii[:2].mean()))
    level = 1 - _distance(rng, centre, radii, grid) + np.float32(rough) * noise
    outside = np.abs(grid.axes()[2] - band[0]) > band[1]
    return np.where(outside, np.float32(-1), level)


def tumours(spec: PhantomSpec, number: int, head: Head, grid: Grid) -> Lesions:
    """Return one to three tumours of a subject, within one slab of the head."""
    rng = stream(spec, number, "lesions")
    into = Lesions(np.zeros(grid.shape, dtype=np.uint8))
    middle, half = band = _band(rng, head, grid)
    eligible = (head.shares["wm"] > 0.6) & (head.depth > 0.9) & (head.ventricles < 0.25)
    eligible = eligible if eligible.any() else head.brain
    smallest = 3.2 * max(spec.spacing[:2])
    for index in range(int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        # The first lesion fills most of the slab; the others are smaller and lie anywhere in it.
        tall = half * (rng.uniform(0.8, 1.0) if index == 0 else rng.uniform(0.4, 0.7))
        shift = rng.uniform(-1, 1) * (half - tall)
        centre = _centre(rng, eligible, middle + shift, grid)
        if centre is None:
            continue
        wide = rng.uniform(20, 34, 2) if index == 0 else rng.uniform(9, 16, 2)
        radii = np.array([*np.maximum(wide, smallest), max(tall, 1.2 * spec.spacing[2])])
        _tumour(rng, head, grid, _level(rng, centre, radii, band, grid, 0.16), into)
    return into


def plaques(spec: PhantomSpec, number: int, head: Head, grid: Grid) -> Lesions:
    """Return small lesions in white matter near the ventricles, like those of multiple sclerosis, all labelled 2."""
    rng = stream(spec, number, "plaques")
    into = Lesions(np.zeros(grid.shape, dtype=np.uint8))
    band = _band(rng, head, grid)
    eligible = (head.shares["wm"] > 0.6) & (head.depth > 0.85) & (head.ventricles > 0.05)
    eligible = eligible if eligible.any() else head.brain
    total = np.zeros(grid.shape, dtype=np.float32)
    for _ in range(int(rng.integers(6, 15))):
        centre = _centre(rng, eligible, band[0] + rng.uniform(-0.8, 0.8) * band[1], grid)
        if centre is None:
            continue
        radii = np.maximum(rng.uniform(3.5, 8.0, 3), 1.4 * np.array(spec.spacing))
        level = _level(rng, centre, radii, band, grid, 0.12)
        total = np.maximum(total, smoothstep(level, -0.1, 0.15) * np.float32(rng.uniform(0.65, 1.0)))
    into.shares["oedema"] = total * (1 - head.shares["csf"])
    into.labels[head.brain & (into.shares["oedema"] > 0.4)] = OEDEMA
    return into
