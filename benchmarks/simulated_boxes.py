"""Simulated pictures with boxes and detections, whose population values are known from many of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from anyadbench.metrics.boxes.detections import Detection
from anyadbench.metrics.boxes.numbers import NAMES, BoxImage, box_metrics
from anyadbench.metrics.boxes.row import RowBoxes, box_numbers

SIDE, THRESHOLD = 240.0, 0.0


@dataclass(frozen=True)
class BoxSetting:
    """A generative setting.

    Attributes:
        pictures: Mean number of pictures of a subject.
        boxes: Mean number of boxes of a picture.
        contrast: Mean score of the detection of a box; those below the threshold are missed.
        subject_sd: SD over subjects of the scores of their detections.
        jitter: SD of a detection's edges, as a share of its box's sides.
        alarms: Mean number of false alarms of a picture.
    """

    name: str
    pictures: float
    boxes: float
    contrast: float
    subject_sd: float
    jitter: float
    alarms: float


BOX_SETTINGS = (
    BoxSetting("strong method", 1.0, 1.4, 2.0, 0.7, 0.12, 1.0),
    BoxSetting("weak method", 1.0, 1.4, 0.6, 0.9, 0.3, 6.0),
    BoxSetting("many pictures and boxes", 3.0, 3.0, 1.2, 0.7, 0.2, 3.0),
)


def draw_picture(rng: np.random.Generator, setting: BoxSetting, effect: float) -> BoxImage:
    """Draw the boxes and detections of one picture.

    Args:
        rng: Random numbers.
        setting: The setting.
        effect: Subject's effect on the scores of detections.
    """
    count = 1 + rng.poisson(setting.boxes - 1)
    sides = np.clip(30 * np.exp(0.5 * rng.standard_normal((count, 2))), 6, 100)
    # Boxes lie in strips of their own, so that none overlaps another.
    strip = SIDE / count
    sides[:, 0] = np.minimum(sides[:, 0], 0.9 * strip)
    corners = np.stack([strip * np.arange(count), np.zeros(count)], axis=1)
    corners += rng.random((count, 2)) * (np.stack([np.full(count, strip), np.full(count, SIDE)], axis=1) - sides)
    boxes = np.concatenate([corners, sides], axis=1)
    scores = setting.contrast + effect + 0.8 * rng.standard_normal(count)
    edges = setting.jitter * rng.standard_normal((count, 4)) * np.tile(sides, 2)
    near = np.concatenate([corners + edges[:, :2], np.maximum(sides + edges[:, 2:], 2)], axis=1)
    raised = rng.poisson(setting.alarms * np.exp(0.6 * rng.standard_normal() - 0.18))
    others = np.concatenate([SIDE * rng.random((raised, 2)), 5 + 30 * rng.random((raised, 2))], axis=1)
    alarms = np.abs(0.8 * rng.standard_normal(raised))
    found = [(float(score), box) for score, box in zip(scores, near, strict=True) if score > THRESHOLD]
    found += [(float(score), box) for score, box in zip(alarms, others, strict=True)]
    detections = [Detection((float(a), float(b), float(c), float(d)), score) for score, (a, b, c, d) in found]
    hit = bool(scores.max() > max(alarms.max(initial=THRESHOLD), THRESHOLD))
    return BoxImage(boxes, detections, hit)


def draw_row(rng: np.random.Generator, setting: BoxSetting, n: int) -> RowBoxes:
    """Draw the pictures of n subjects."""
    subjects: list[str] = []
    images = []
    for number in range(n):
        effect = setting.subject_sd * rng.standard_normal()
        for _ in range(1 + rng.poisson(setting.pictures - 1)):
            subjects.append(f"s{number:05d}")
            images.append(draw_picture(rng, setting, effect))
    places = tuple((name, place) for place, name in enumerate(subjects))
    return RowBoxes("test", "T1", THRESHOLD, tuple(subjects), places, tuple(images))


@cache
def box_truth(setting: BoxSetting, subjects: int = 20_000) -> dict[str, float]:
    """Return the population's values, from many simulated subjects pooled."""
    row = draw_row(np.random.default_rng(99), setting, subjects)
    return box_metrics(row.images)


def box_coverage(setting: BoxSetting, n: int, simulations: int) -> dict[str, tuple[float, float]]:
    """Return, for each number of boxes, how often its interval holds the truth, and how often there is none."""
    rng, true = np.random.default_rng(n), box_truth(setting)
    held: dict[str, list[bool]] = {name: [] for name in NAMES}
    for _ in range(simulations):
        ends = box_numbers(draw_row(rng, setting, n))["intervals"]
        for name, (low, high) in ends.items():
            held[name].append(low <= true[name] <= high)
    return {
        name: (float(np.mean(found)) if found else float("nan"), 1 - len(found) / simulations)
        for name, found in held.items()
    }
