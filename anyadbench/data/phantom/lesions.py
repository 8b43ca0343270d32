"""Lesions in voxels: their shape, their parts, and how they replace healthy tissue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.phantom.fields import smooth_noise, smoothstep
from anyadbench.data.phantom.grid import Grid
from anyadbench.data.phantom.head import Head
from anyadbench.data.phantom.pathology import Site
from anyadbench.data.phantom.spec import PhantomSpec, stream

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

CORE, OEDEMA, ENHANCING = 1, 2, 4
"""Labels of BraTS 2018."""

_REACH = 2.0
"""Half size of the box in which a lesion is computed, in its radii."""

_VISIBLE = 0.5
"""Extent above which a rater outlines a lesion: where it has replaced half of what it replaces at its centre."""

Parts = dict[str, np.ndarray]


@dataclass
class Lesions:
    """Labels, and the share of each voxel that each lesion tissue takes."""

    labels: UInt8[np.ndarray, "x y z"]
    shares: dict[str, Float32[np.ndarray, "x y z"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Patch:
    """The part of the grid around one lesion: its place, its grid, and the tissue there.

    Attributes:
        box: Its place in the whole grid.
        grid: Its shape and voxel size.
        level: 1 at the lesion's centre, 0 at its border, negative outside.
        white: Share of white matter.
        room: Share that a lesion may take.
    """

    box: tuple[slice, slice, slice]
    grid: Grid
    level: Float32[np.ndarray, "x y z"]
    white: Float32[np.ndarray, "x y z"]
    room: Float32[np.ndarray, "x y z"]


def _patch(rng: np.random.Generator, site: Site, head: Head, rough: float) -> Patch:
    """Return the surroundings of a lesion; its outline is a rotated ellipsoid made irregular."""
    grid = head.grid
    reach = _REACH * float(site.radii.max()) + 2
    spans = [np.flatnonzero(np.abs(line.ravel() - c) < reach) for line, c in zip(grid.axes(), site.centre, strict=True)]
    # A centre near the edge of the field still has at least one voxel per axis.
    cuts = [slice(int(s[0]), int(s[-1]) + 1) if len(s) else slice(0, 1) for s in spans]
    box = (cuts[0], cuts[1], cuts[2])
    x, y, z = (
        line.ravel()[cut].reshape([-1 if k == axis else 1 for k in range(3)]) - site.centre[axis]
        for axis, (line, cut) in enumerate(zip(grid.axes(), cuts, strict=True))
    )
    u, v = x * np.cos(site.turn) + y * np.sin(site.turn), y * np.cos(site.turn) - x * np.sin(site.turn)
    distance = np.sqrt((u / site.radii[0]) ** 2 + (v / site.radii[1]) ** 2 + (z / site.radii[2]) ** 2)
    own = grid.part(box)
    scale = max(float(0.5 * site.radii[:2].mean()), 2.5)
    level = (1 - distance).astype(np.float32) + np.float32(rough) * smooth_noise(rng, own.shape, own.spacing, scale)
    # A lesion swells into the sulci, never into the ventricles.
    deep = smoothstep(head.ventricles[box], 0.05, 0.25)
    room = 1 - head.shares["csf"][box] * (np.float32(0.35) + np.float32(0.6) * deep)
    return Patch(box, own, level, head.shares["wm"][box], room)


def _spread(patch: Patch, along: float) -> np.ndarray:
    """Return the level of oedema, which follows white matter and spares the cortex."""
    spread: np.ndarray = patch.level + np.float32(along) * (patch.white - np.float32(0.5))
    return spread


def _glioma(rng: np.random.Generator, patch: Patch) -> Parts:
    """Return a tumour with infiltrating oedema that fades, and a core that is necrotic, enhancing or neither."""
    jagged = np.float32(0.12) * smooth_noise(rng, patch.grid.shape, patch.grid.spacing, 4.0)
    core = patch.level + jagged - np.float32(rng.uniform(0.3, 0.62))
    whole = smoothstep(_spread(patch, rng.uniform(0.25, 0.5)), -0.3, rng.uniform(0.3, 0.6))
    inner = smoothstep(core, -0.06, 0.08)
    thick = rng.uniform(0.06, 0.2)
    middle = smoothstep(core, thick, thick + 0.14)
    if rng.random() < 0.75:
        return {"oedema": whole * (1 - inner), "rim": inner * (1 - middle), "necrosis": inner * middle}
    return {"oedema": whole * (1 - inner), "solid": inner}


def _low_grade(rng: np.random.Generator, patch: Patch) -> Parts:
    """Return a tumour without enhancement; in one of three, FLAIR shows its centre dark."""
    whole = smoothstep(_spread(patch, 0.15), -0.2, rng.uniform(0.2, 0.5))
    centre = smoothstep(patch.level, 0.2, 0.5) * np.float32(rng.uniform(0.5, 0.9) if rng.random() < 0.35 else 0)
    return {"solid": whole * (1 - centre), "mucoid": whole * centre}


def _metastasis(rng: np.random.Generator, patch: Patch) -> Parts:
    """Return a round nodule or ring that enhances, some with oedema."""
    core = patch.level - np.float32(rng.uniform(0.0, 0.5) if rng.random() < 0.6 else 0.0)
    inner = smoothstep(core, -0.1, 0.12)
    around = smoothstep(_spread(patch, 0.3), -0.25, 0.3)
    middle = smoothstep(core, 0.25, 0.45) * (rng.random() < 0.5)
    return {"oedema": around * (1 - inner), "rim": inner * (1 - middle), "necrosis": inner * middle}


def _infarct(rng: np.random.Generator, patch: Patch) -> Parts:
    """Return an old infarct: a cavity or none, with a border of gliosis."""
    whole = smoothstep(patch.level, -0.12, 0.2)
    cavity = smoothstep(patch.level, 0.25, 0.5) * np.float32(rng.uniform(0.6, 1.0) if rng.random() < 0.6 else 0)
    return {"oedema": whole * (1 - cavity), "cavity": whole * cavity}


def _plaque(rng: np.random.Generator, patch: Patch) -> Parts:
    """Return a plaque of demyelination."""
    return {"oedema": smoothstep(_spread(patch, 0.2), -0.15, rng.uniform(0.15, 0.45))}


_PARTS = {
    "glioma": _glioma, "low-grade": _low_grade, "metastases": _metastasis, "infarct": _infarct, "plaques": _plaque,
}  # fmt: skip
_LABELS = {"oedema": OEDEMA, "solid": CORE, "mucoid": CORE, "necrosis": CORE, "cavity": CORE, "rim": ENHANCING}
_ROUGH = {"glioma": 0.2, "low-grade": 0.18, "metastases": 0.07, "infarct": 0.22, "plaques": 0.15}


def _add(rng: np.random.Generator, site: Site, head: Head, into: Lesions) -> None:
    """Add one lesion."""
    patch = _patch(rng, site, head, _ROUGH[site.kind])
    parts = _PARTS[site.kind](rng, patch)
    coarse = 1 + np.float32(0.16) * smooth_noise(rng, patch.grid.shape, patch.grid.spacing, 5.0)
    box = patch.box
    for name, part in parts.items():
        share = np.clip(part * patch.room * np.float32(site.strength) * coarse, 0, 1)
        whole = into.shares.setdefault(name, np.zeros(head.grid.shape, np.float32))
        whole[box] = np.maximum(whole[box], share)
    extent = np.sum(list(parts.values()), axis=0)
    outlined = head.brain[box] & (extent > _VISIBLE) & (patch.room > 0.4)
    names = list(parts)
    largest = np.argmax(np.stack([parts[name] for name in names]), axis=0)
    labels = np.array([_LABELS[name] for name in names], np.uint8)[largest]
    # The core of one lesion stays core within the oedema of another.
    labels = np.where((labels == OEDEMA) & (into.labels[box] > 0), into.labels[box], labels)
    into.labels[box] = np.where(outlined, labels, into.labels[box])


def lesions(spec: PhantomSpec, number: int, head: Head) -> Lesions:
    """Return the lesions of a head on its grid; a healthy one has none."""
    into = Lesions(np.zeros(head.grid.shape, dtype=np.uint8))
    for index, site in enumerate(head.sites):
        _add(stream(spec, number, f"lesion {index}"), site, head, into)
    return into
