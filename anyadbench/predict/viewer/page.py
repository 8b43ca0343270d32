"""A prediction as one self-contained HTML page with a viewer: no network, no second file."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.boards.render import tiles
from anyadbench.predict.prediction import USE
from anyadbench.predict.viewer.assets import asset, environment, hash_of
from anyadbench.predict.viewer.facts import (
    cluster_caption,
    cluster_rows,
    key_facts,
    map_facts,
    moves,
    preparation,
    provenance,
)
from anyadbench.predict.viewer.pictures import THUMBNAIL, slice_with_map, top_slices, top_views
from anyadbench.predict.viewer.scene import MapLayers, Scene, encode, map_layers, scene_of
from anyadbench.sequences import SHORT, format_subset

if TYPE_CHECKING:
    from collections.abc import Collection

    from anyadbench.predict.prediction import Prediction
    from anyadbench.predict.viewer.subsets import OtherSubsets

WIDTH, HEIGHT = 720, 120
"""Size of the plot of slice scores."""


def report_html(prediction: Prediction, name: str, others: Collection[Prediction] | OtherSubsets = ()) -> str:
    """Return the page; all external text is escaped, and only the page's own script may run.

    Args:
        prediction: The prediction from all given sequences.
        name: Name of the patient.
        others: Predictions from other subsets of the same patient's sequences; each is drawn and dropped.
    """
    scene = scene_of(prediction, 1 + len(others))
    layers = map_layers(prediction, scene)
    volumes = {f"scan-{sequence}": encode(layer.values) for sequence, layer in scene.scans.items()}
    maps = []
    for number, item in enumerate(chain([prediction], others)):
        own = layers if item is prediction else map_layers(item, scene)
        volumes |= {f"map-{number}": encode(own.map.values), f"marks-{number}": encode(own.marks)}
        maps.append(_map(item, own, scene, number))
    scans = [
        {"id": f"scan-{sequence}", "name": sequence, "label": SHORT[sequence], "low": layer.low, "high": layer.high}
        for sequence, layer in scene.scans.items()
    ]
    script, style = asset("viewer.js"), asset("page.css")
    return environment().get_template("report.html.j2").render(
        name=name, use=USE, prediction=prediction, short=SHORT, scans=scans, maps=maps, volumes=volumes.items(),
        facts=key_facts(prediction), steps=preparation(prediction), moves=moves(prediction),
        provenance=provenance(prediction), top=top_views(prediction, scene, layers),
        scale=layers.scale, bars=_bars(prediction, scene), size=(WIDTH, HEIGHT), gradient=_gradient(),
        slices=[{"item": item, "z": scene.slice_of(item)} for item in prediction.slices],
        coarse="" if scene.steps == (1, 1, 1) else " × ".join(map(str, scene.steps)),
        thumbnail=thumbnail(prediction, scene, layers), data=_data(prediction, scene, scans, maps),
        script=script, style=style, script_hash=hash_of(script), style_hash=hash_of(style),
    )  # fmt: skip


def thumbnail(prediction: Prediction, scene: Scene, layers: MapLayers) -> str:
    """Return a small picture of the slice with the map's peak, as a data URI."""
    return slice_with_map(prediction, scene, layers, peak(prediction, scene)[2], THUMBNAIL)


def peak(prediction: Prediction, scene: Scene) -> tuple[int, int, int]:
    """Return the drawn voxel with the peak of the first cluster, or without clusters of the map in the brain."""
    if prediction.clusters:
        return scene.place(prediction.clusters[0].peak_index)
    inside = np.where(prediction.brain, prediction.map, -np.inf)
    return scene.place([float(i) for i in np.unravel_index(int(np.argmax(inside)), inside.shape)])


def _data(
    prediction: Prediction, scene: Scene, scans: list[dict[str, Any]], maps: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the script needs beside the volumes."""
    slices = [{"z": scene.slice_of(item), "slice": item.slice, "score": item.score} for item in prediction.slices]
    keys = ("id", "marks", "label", "low", "high", "levels", "threshold", "clusters", "start", "facts")
    return {
        "shape": scene.shape, "spacing": scene.spacing, "start": scene.start, "steps": scene.steps,
        "affine": scene.affine[:3].tolist(), "toFile": scene.to_file[:3].tolist(),
        "fromFile": np.linalg.inv(scene.to_file)[:3].tolist(), "contour": list(tiles.CONTOUR),
        "colours": np.rint(tiles.heat_colours(np.linspace(0, 1, 256, dtype=np.float32)[None])[0]).astype(int).tolist(),
        "scans": scans, "maps": [{key: item[key] for key in keys} for item in maps], "slices": slices,
    }  # fmt: skip


def _map(item: Prediction, layers: MapLayers, scene: Scene, number: int) -> dict[str, Any]:
    low, high = layers.map.low, layers.map.high
    levels = [round(255 * min(max((value - low) / (high - low), 0), 1)) for value in layers.scale]
    return {
        "id": f"map-{number}", "marks": f"marks-{number}", "label": format_subset(item.shown), "low": low, "high": high,
        "levels": [min(levels[0], 254), max(levels[1], levels[0] + 1)], "threshold": item.threshold,
        "clusters": [{"number": own.number, "peak": scene.place(own.peak_index)} for own in item.clusters],
        "rows": cluster_rows(item), "caption": cluster_caption(item), "masked": item.mask is not None,
        "start": peak(item, scene), "facts": map_facts(item),
    }  # fmt: skip


def _bars(prediction: Prediction, scene: Scene) -> list[dict[str, Any]]:
    """Return every slice's bar in the plot, and the drawn slice that it leads to."""
    top = set(top_slices(prediction))
    scores = np.array([item.score for item in prediction.slices])
    low, high = min(0.0, float(scores.min())), float(scores.max())
    step, found = WIDTH / len(scores), []
    for i, item in enumerate(prediction.slices):
        tall = HEIGHT * (item.score - low) / max(high - low, 1e-30)
        found.append(
            {
                "x": f"{i * step:.2f}", "y": f"{HEIGHT - tall:.2f}", "width": f"{max(step - 1, 0.5):.2f}",
                "wide": f"{step:.2f}", "height": f"{tall:.2f}", "z": scene.slice_of(item),
                "kind": "top" if i in top else "plain" if item.counted else "little",
                "title": f"slice {item.slice}: {item.score:.4g}",
            }
        )  # fmt: skip
    return found


def _gradient() -> list[tuple[str, str]]:
    """Return the stops of the map's colour scale, for the legend."""
    at = np.linspace(0, 1, 17, dtype=np.float32)
    colours = np.rint(tiles.heat_colours(at[None])[0]).astype(int).tolist()
    texts = ["#" + "".join(f"{part:02x}" for part in colour) for colour in colours]
    return [(f"{stop:.4f}", text) for stop, text in zip(at, texts, strict=True)]
