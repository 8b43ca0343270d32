"""Pictures of axial slices that need no script: those of the report, and the small one of the list of patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from anyadbench.boards.render import tiles
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Shaped

    from anyadbench.predict.prediction import Prediction, SliceScore
    from anyadbench.predict.viewer.scene import MapLayers, Scene

TILE, THUMBNAIL, TOP = 180, 96, 6
"""Side of a picture and of the small picture in pixels; number of highest-scoring slices that are drawn."""


@dataclass(frozen=True)
class View:
    """One drawn slice: pictures of the inputs, then of the map."""

    item: SliceScore
    pictures: tuple[tuple[str, str], ...]


def top_views(prediction: Prediction, scene: Scene, layers: MapLayers) -> list[View]:
    """Return pictures of the slices with the highest scores, from inferior to superior."""
    found = []
    for index in top_slices(prediction):
        item = prediction.slices[index]
        z = scene.slice_of(item)
        greys = [(SHORT[name], tiles.png_uri(_grey(scene, name, z, TILE))) for name in scene.scans]
        found.append(View(item, (*greys, ("anomaly map", slice_with_map(prediction, scene, layers, z, TILE)))))
    return found


def top_slices(prediction: Prediction) -> list[int]:
    """Return the slices with the highest scores, no two close together, since neighbours look alike."""
    counted = [i for i, item in enumerate(prediction.slices) if item.counted] or list(range(len(prediction.slices)))
    apart, chosen = max(1, len(prediction.slices) // 24), list[int]()
    for i in sorted(counted, key=lambda i: -prediction.slices[i].score):
        if len(chosen) < TOP and all(abs(i - other) > apart for other in chosen):
            chosen.append(i)
    return sorted(chosen)


def slice_with_map(prediction: Prediction, scene: Scene, layers: MapLayers, z: int, side: int) -> str:
    """Return a drawn axial slice with the map over the first shown sequence, and the mask's outline, as a data URI."""
    name = next((name for name in prediction.shown if name in scene.scans), next(iter(scene.scans)))
    layer = layers.map
    values = layer.low + (layer.high - layer.low) / 255 * layers.map.values[:, :, z].astype(np.float32)
    low, high = layers.scale
    heat = tiles.blend_map(_grey(scene, name, z, side), _square(scene, values, layer.low), low, high)
    mask = _square(scene, (layers.marks[:, :, z] > 0).astype(np.float32)) >= 0.5
    return tiles.png_uri(heat, tiles.outline(mask, side))


def _grey(scene: Scene, name: str, z: int, side: int) -> np.ndarray:
    return tiles.grey_tile(_square(scene, scene.scans[name].values[:, :, z]), side)


def _square(scene: Scene, values: Shaped[np.ndarray, "x y"], empty: float = 0) -> Shaped[np.ndarray, "s s"]:
    """Return an axial slice (rows from anterior to posterior) with square pixels, in the middle of a square."""
    sx, sy, _ = scene.spacing
    pixel = min(sx, sy)
    size = max(1, round(values.shape[0] * sx / pixel)), max(1, round(values.shape[1] * sy / pixel))
    picture = np.ascontiguousarray(values.T)
    if size != values.shape:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    side = max(size)
    out = np.full((side, side), empty, picture.dtype)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = picture
    return out
