"""A prediction as one self-contained HTML page: no network, no script, no second file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.boards.render import tiles
from anyadbench.predict.findings.sentences import MEANING, patient_text, volume_text
from anyadbench.predict.prediction import USE, Prediction, SliceScore
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Float32
    from jinja2 import Environment

TILE, TOP, SPREAD = 180, 6, 12
"""Side of a picture in pixels; number of highest-scoring and of evenly spread slices that are drawn."""

WIDTH, HEIGHT = 720, 120
"""Size of the plot of slice scores."""


@dataclass(frozen=True)
class View:
    """One drawn slice: pictures of the shown sequences, then the map."""

    item: SliceScore
    pictures: tuple[tuple[str, str], ...]


def report_html(prediction: Prediction, name: str) -> str:
    """Return the page; all external text is escaped."""
    top = _top(prediction)
    spread = np.linspace(0, len(prediction.slices) - 1, min(SPREAD, len(prediction.slices))).round().astype(int)
    low, high = _scale(prediction)
    context = {
        "name": name,
        "use": USE,
        "score_text": patient_text(scores := prediction.as_json()),
        "volume_text": volume_text(prediction.volume_ml, scores["reference"]),
        "meaning": MEANING,
        "prediction": prediction,
        "shown": ", ".join(SHORT[sequence] for sequence in prediction.shown),
        "short": SHORT,
        "top": [_view(prediction, i, low, high) for i in top],
        "spread": [_view(prediction, i, low, high) for i in dict.fromkeys(spread.tolist())],
        "low": low,
        "high": high,
        "bars": _bars(prediction, set(top)),
        "size": (WIDTH, HEIGHT),
    }
    return _environment().get_template("report.html.j2").render(context)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("anyadbench.predict", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _top(prediction: Prediction) -> list[int]:
    """Return the slices with the highest scores, no two close together, since neighbours look alike."""
    counted = [i for i, item in enumerate(prediction.slices) if item.counted] or list(range(len(prediction.slices)))
    apart, chosen = max(1, len(prediction.slices) // 24), list[int]()
    for i in sorted(counted, key=lambda i: -prediction.slices[i].score):
        if len(chosen) < TOP and all(abs(i - other) > apart for other in chosen):
            chosen.append(i)
    return sorted(chosen)


def _scale(prediction: Prediction) -> tuple[float, float]:
    """Return the ends of the colour scale: the median in the brain, so that most tissue stays grey; near the top."""
    counted = [i for i, item in enumerate(prediction.slices) if item.counted] or list(range(len(prediction.slices)))
    rows = np.array(counted)[np.linspace(0, len(counted) - 1, min(SPREAD, len(counted))).round().astype(int)]
    brain = prediction.data.values(rows).max(axis=1) > 0
    maps = np.stack([_on_field(prediction.grid_maps[row], brain.shape[1:]) for row in rows])
    if not brain.any():  # only other slices are above 0 where the method sees them
        brain = np.ones_like(brain)
    low, high = np.quantile(maps[brain].astype(np.float64), (0.5, 0.999))
    return float(low), float(high)


def _view(prediction: Prediction, index: int, low: float, high: float) -> View:
    slices = prediction.data
    names = slices.protocol.sequences
    values = slices.values(np.array([index]))[0]
    greys = {}
    box = tiles.crop_box(_bytes(slices.values(_middle(prediction))[0]), np.zeros((1, *values.shape[1:]), bool))
    for sequence in prediction.shown:
        greys[sequence] = tiles.grey_tile(tiles.cut(_bytes(values[names.index(sequence)]), box), TILE)
    picture = _on_field(prediction.grid_maps[index], values.shape[1:])
    counts = prediction.slices[index].counted and prediction.threshold is not None
    brain = _on_field(prediction.grid_brain[index].astype(np.float32), values.shape[1:]) >= 0.5
    mask = (picture > prediction.threshold) & brain if counts else np.zeros(picture.shape, bool)
    line = tiles.outline(tiles.cut(mask, box), TILE)
    heat = tiles.blend_map(greys[prediction.shown[0]], tiles.cut(picture, box), low, high)
    pictures = [(SHORT[sequence], tiles.png_uri(grey)) for sequence, grey in greys.items()]
    return View(prediction.slices[index], (*pictures, ("anomaly map", tiles.png_uri(heat, line))))


def _middle(prediction: Prediction) -> np.ndarray:
    """Return the slice with the most brain, whose frame all pictures share."""
    return np.array([int(np.argmax([item.brain for item in prediction.slices]))])


def _bytes(image: Float32[np.ndarray, "*n h w"]) -> np.ndarray:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _on_field(picture: Float32[np.ndarray, "h w"], shape: tuple[int, ...]) -> Float32[np.ndarray, "H W"]:
    import cv2

    if picture.shape == shape:
        return picture
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _bars(prediction: Prediction, top: set[int]) -> list[tuple[float, float, float, float, str, str]]:
    """Return x, y, width, height, class and title of every slice's bar."""
    scores = np.array([item.score for item in prediction.slices])
    low, high = min(0.0, float(scores.min())), float(scores.max())
    step = WIDTH / len(scores)
    found = []
    for i, item in enumerate(prediction.slices):
        tall = HEIGHT * (item.score - low) / max(high - low, 1e-30)
        kind = "top" if i in top else "plain" if item.counted else "little"
        found.append((i * step, HEIGHT - tall, max(step - 1, 0.5), tall, kind, f"slice {item.slice}: {item.score:.4g}"))
    return found
