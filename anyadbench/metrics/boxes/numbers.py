"""Hit rate, FROC and AP of detections against boxes.

A detection finds a box if their intersection over union reaches a limit. Detections are matched in the order of their
scores over all images, each with the free box of its image that it overlaps most; what is left over is a false alarm
(Everingham et al., IJCV 2010, section 4.2). AP is the area under the precision envelope at all recalls (same source).
NOVA (Bercea et al., arXiv:2505.14064) reports AP at overlaps of .3, .5 and .5 to .95, and accuracy at .5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.boxes.detections import Detection, box_overlap, detections_above, peak_inside

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64

LIMITS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps over which ``ap`` is averaged, as in COCO."""

ALARMS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per image at which ``froc`` reads the sensitivity, as in LUNA16."""


@dataclass(frozen=True, eq=False)
class BoxImage:
    """One image with boxes.

    Attributes:
        boxes: Left, top, width and height of each box in pixels; none for an image without a finding.
        detections: Boxes drawn from its map.
        hit: Whether its map's highest pixel lies in a box.
    """

    boxes: Float64[np.ndarray, "b 4"]
    detections: Sequence[Detection]
    hit: bool


def box_image(scores: Float[np.ndarray, "H W"], boxes: Float64[np.ndarray, "b 4"], threshold: float) -> BoxImage:
    """Return an image's boxes with what its map finds above a threshold."""
    return BoxImage(boxes, detections_above(scores, threshold), peak_inside(scores, boxes))


def box_metrics(images: Sequence[BoxImage], froc_overlap: float = 0.3) -> dict[str, float]:
    """Return every number of a set of images.

    Args:
        images: The images; those without boxes count for false alarms only.
        froc_overlap: Overlap from which a detection finds a box, for FROC.

    Returns:
        ``hit_rate``: share of images with boxes whose map is highest inside one. ``acc50``: share of them in which a
        detection overlaps a box by at least .5. ``ap30``, ``ap50``, ``ap``: AP at .3, at .5, mean over ``LIMITS``.
        ``froc``: mean sensitivity at ``ALARMS``; ``sensitivity``, ``alarms_per_image``: of all detections together.
        NaN where there is no box.
    """
    with_boxes = [image for image in images if len(image.boxes)]
    if not with_boxes:
        names = ("hit_rate", "acc50", "ap30", "ap50", "ap", "froc", "sensitivity")
        alarms = sum(len(image.detections) for image in images) / len(images) if images else math.nan
        return {**dict.fromkeys(names, math.nan), "alarms_per_image": alarms}
    precise = {limit: average_precision(images, limit) for limit in (0.3, *LIMITS)}
    correct = matched(images, froc_overlap)
    total = sum(len(image.boxes) for image in images)
    return {
        "hit_rate": float(np.mean([image.hit for image in with_boxes])),
        "acc50": float(np.mean([_reaches(image, 0.5) for image in with_boxes])),
        "ap30": precise[0.3],
        "ap50": precise[0.5],
        "ap": float(np.mean([precise[limit] for limit in LIMITS])),
        "froc": float(np.mean(list(froc(images, froc_overlap).values()))),
        "sensitivity": float(correct[1].sum() / total),
        "alarms_per_image": float((~correct[1]).sum() / len(images)),
    }


def matched(images: Sequence[BoxImage], limit: float) -> tuple[Float64[np.ndarray, " d"], Bool[np.ndarray, " d"]]:
    """Return the scores of all detections, highest first, and which of them find a box."""
    flat = [(item.score, index, item.box) for index, image in enumerate(images) for item in image.detections]
    flat.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    free = [np.ones(len(image.boxes), bool) for image in images]
    correct = np.zeros(len(flat), bool)
    for place, (_, index, box) in enumerate(flat):
        if not free[index].any():
            continue
        overlap = np.where(free[index], box_overlap(np.array([box]), images[index].boxes)[0], -1.0)
        best = int(overlap.argmax())
        if overlap[best] >= limit:
            free[index][best], correct[place] = False, True
    return np.array([score for score, _, _ in flat]), correct


def average_precision(images: Sequence[BoxImage], limit: float) -> float:
    """Return the AP of detections that must overlap a box by ``limit``; NaN without a box."""
    total = sum(len(image.boxes) for image in images)
    if not total:
        return math.nan
    scores, correct = matched(images, limit)
    ends = _ends_of_ties(scores)
    found = np.cumsum(correct)[ends]
    precision = found / (ends + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(precision) else precision
    return float((np.diff(found, prepend=0) * envelope).sum() / total)


def froc(images: Sequence[BoxImage], limit: float) -> Mapping[float, float]:
    """Return the sensitivity at each rate of ``ALARMS`` (false alarms per image); NaN without a box.

    It is the highest sensitivity of a threshold on the detections' scores with at most that many alarms.
    """
    total = sum(len(image.boxes) for image in images)
    if not total:
        return dict.fromkeys(ALARMS, math.nan)
    scores, correct = matched(images, limit)
    ends = _ends_of_ties(scores)
    found, alarms = np.cumsum(correct)[ends], np.cumsum(~correct)[ends] / len(images)
    return {rate: float(found[alarms <= rate].max(initial=0) / total) for rate in ALARMS}


def _ends_of_ties(scores: Float64[np.ndarray, " d"]) -> np.ndarray:
    """Return the last index of each run of equal scores: a threshold takes all of them or none."""
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, int)


def _reaches(image: BoxImage, limit: float) -> bool:
    drawn = np.array([item.box for item in image.detections]).reshape(-1, 4)
    return bool((box_overlap(drawn, image.boxes) >= limit).any())
