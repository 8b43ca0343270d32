"""Reading the kept anomaly maps of a cell, ``scores/maps.npz``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.results.arrays import load_arrays, parsed
from anyadbench.results.read import inside

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8

MAX_BYTES = 2**30
"""Unpacked size above which a file is refused."""

_MAX_SLICES = 400


@dataclass(frozen=True)
class SliceInfo:
    """The identity of a kept slice, and its image scores."""

    subject: str
    scan: str
    index: int
    test: str
    lesion_px: int
    image_scores: dict[str, float]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identity of the slice across methods."""
        return self.test, self.subject, self.scan, self.index


@dataclass(frozen=True)
class KeptMaps:
    """Kept slices of one cell.

    Attributes:
        maps: NaN where the scan lacks a sequence of the subset.
    """

    subsets: tuple[str, ...]
    sequences: tuple[str, ...]
    slices: tuple[SliceInfo, ...]
    images: UInt8[np.ndarray, "k s h w"]
    present: Bool[np.ndarray, "k s"]
    masks: Bool[np.ndarray, "k h w"]
    maps: Float32[np.ndarray, "k r h w"]


def read_maps(folder: Path) -> KeptMaps | str:
    """Read the kept maps, or return a sentence on why there are none."""
    path = inside(folder, "scores/maps.npz")
    if path is None:
        return "No maps were kept (--keep-maps none)."
    name = f"{folder.name}/scores/maps.npz"
    damaged = f"{name} is damaged; run the cell again."
    try:
        return parsed(load_arrays(path, name, MAX_BYTES), _checked, damaged) or damaged
    except UserError as error:
        return str(error)


def _checked(arrays: dict[str, Any]) -> KeptMaps | None:
    info = json.loads(str(arrays["info"].item()))
    subsets, sequences = tuple(map(str, info["subsets"])), tuple(map(str, info["sequences"]))
    slices = tuple(_slice(item) for item in info["slices"])
    maps = arrays["maps"]
    k, r, s = len(slices), len(subsets), len(sequences)
    if not (0 < k <= _MAX_SLICES and r and s) or maps.ndim != 4 or 0 in maps.shape:
        return None
    grid = maps.shape[2:]
    wanted = {"maps": (k, r, *grid), "images": (k, s, *grid), "masks": (k, *grid), "present": (k, s)}
    types = {"maps": np.float32, "images": np.uint8, "masks": np.bool_, "present": np.bool_}
    if any(arrays[name].shape != shape or arrays[name].dtype != types[name] for name, shape in wanted.items()):
        return None
    return KeptMaps(subsets, sequences, slices, arrays["images"], arrays["present"], arrays["masks"], maps)


def _slice(item: dict[str, Any]) -> SliceInfo:
    scores = {str(name): float(value) for name, value in item["image_scores"].items() if value is not None}
    return SliceInfo(
        subject=str(item["subject"])[:200],
        scan=str(item["scan"])[:200],
        index=int(item["slice"]),
        test=str(item["test"])[:200],
        lesion_px=int(item["lesion_px"]),
        image_scores=scores,
    )
