"""Hit rate, FROC and AP of detections against boxes.

A detection finds a box if their intersection over union reaches a limit. Detections are matched in the order of their
scores over all images, each with the free box of its image that it overlaps most; what is left over is a false alarm
(Everingham et al., IJCV 2010, section 4.2). AP is the area under the precision envelope at all recalls (same source).
As far as its rule is known, NOVA (Bercea et al., arXiv:2505.14064) reports counts at .3 and a share of pictures at .5,
and what it calls mAP is not this AP (docs/datasets.md, "Boxes").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.boxes.detections import Detection, box_overlap, detections_above, peak_inside

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64

LIMITS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps over which ``ap`` is averaged, as in COCO."""

NAMES = ("hit_rate", "acc50", "ap30", "ap50", "ap", "froc", "sensitivity", "alarms_per_image")
"""Every number, in order."""

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
    return pooled(images, froc_overlap).numbers()


Matches = tuple["Float64[np.ndarray, ' d']", "Bool[np.ndarray, ' d']"]
"""Scores of detections, the highest first, and which of them find a box."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """Images whose detections are matched once: images do not share boxes, so the numbers of a part of them follow.

    Attributes:
        boxes: Number of boxes of each image.
        hits: Whether its map's highest pixel lies in a box.
        reaches: Whether a detection overlaps a box by at least .5.
        matches: By the overlap that finding a box takes, the matches of all images together.
        owners: By the same, the image of each detection.
        froc_overlap: That of FROC.
    """

    boxes: Int64[np.ndarray, " n"]
    hits: Bool[np.ndarray, " n"]
    reaches: Bool[np.ndarray, " n"]
    matches: Mapping[float, Matches]
    owners: Mapping[float, Int64[np.ndarray, " d"]]
    froc_overlap: float

    def numbers(self, kept: Bool[np.ndarray, " n"] | None = None) -> dict[str, float]:
        """Return every number of the images that are kept, as `box_metrics` does; by default of all."""
        chosen = np.ones(len(self.boxes), bool) if kept is None else kept
        count, total = int(chosen.sum()), int(self.boxes[chosen].sum())
        taken = {}
        for limit, (scores, correct) in self.matches.items():
            own = chosen[self.owners[limit]]
            taken[limit] = scores[own], correct[own]
        froc = taken[self.froc_overlap]
        each = int((~froc[1]).sum()) / count if count else math.nan
        if not total:
            return {**dict.fromkeys(NAMES, math.nan), "alarms_per_image": each}
        with_boxes = chosen & (self.boxes > 0)
        precise = {limit: _precision(taken[limit], total) for limit in (0.3, *LIMITS)}
        return {
            "hit_rate": float(np.mean(self.hits[with_boxes])),
            "acc50": float(np.mean(self.reaches[with_boxes])),
            "ap30": precise[0.3],
            "ap50": precise[0.5],
            "ap": float(np.mean([precise[limit] for limit in LIMITS])),
            "froc": float(np.mean(list(_sensitivities(froc, total, count).values()))),
            "sensitivity": float(froc[1].sum() / total),
            "alarms_per_image": each,
        }


def pooled(images: Sequence[BoxImage], froc_overlap: float = 0.3) -> Pooled:
    """Match the detections of images at every overlap."""
    matches, owners = {}, {}
    for limit in dict.fromkeys((0.3, *LIMITS, froc_overlap)):
        matches[limit], owners[limit] = _pooled([_matched(image, limit) for image in images])
    boxes = np.array([len(image.boxes) for image in images], dtype=np.int64)
    hits = np.array([image.hit for image in images], dtype=bool)
    reaches = np.array([_reaches(image, 0.5) for image in images], dtype=bool)
    return Pooled(boxes, hits, reaches, matches, owners, froc_overlap)


def _pooled(parts: Sequence[Matches]) -> tuple[Matches, Int64[np.ndarray, " d"]]:
    """Put the detections of images together, the highest score first, and return the image of each."""
    scores = np.concatenate([np.empty(0), *(scores for scores, _ in parts)])
    correct = np.concatenate([np.empty(0, bool), *(correct for _, correct in parts)])
    owner = np.repeat(np.arange(len(parts)), [len(scores) for scores, _ in parts])
    order = np.argsort(-scores, kind="stable")
    return (scores[order], correct[order]), owner[order]


def matched(images: Sequence[BoxImage], limit: float) -> Matches:
    """Return the scores of all detections, highest first, and which of them find a box."""
    return _pooled([_matched(image, limit) for image in images])[0]


def _matched(image: BoxImage, limit: float) -> Matches:
    ordered = sorted(image.detections, key=lambda item: (-item.score, item.box))
    scores, correct = np.array([item.score for item in ordered], dtype=np.float64), np.zeros(len(ordered), bool)
    free = np.ones(len(image.boxes), bool)
    overlaps = box_overlap(np.array([item.box for item in ordered]).reshape(-1, 4), image.boxes)
    for place, overlap in enumerate(overlaps):
        if not free.any():
            break
        best = int(np.where(free, overlap, -1.0).argmax())
        if overlap[best] >= limit:
            free[best], correct[place] = False, True
    return scores, correct


def average_precision(images: Sequence[BoxImage], limit: float) -> float:
    """Return the AP of detections that must overlap a box by ``limit``; NaN without a box."""
    return _precision(matched(images, limit), sum(len(image.boxes) for image in images))


def _precision(matches: Matches, total: int) -> float:
    if not total:
        return math.nan
    scores, correct = matches
    ends = _ends_of_ties(scores)
    found = np.cumsum(correct)[ends]
    precision = found / (ends + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(precision) else precision
    return float((np.diff(found, prepend=0) * envelope).sum() / total)


def froc(images: Sequence[BoxImage], limit: float) -> Mapping[float, float]:
    """Return the sensitivity at each rate of ``ALARMS`` (false alarms per image); NaN without a box.

    It is the highest sensitivity of a threshold on the detections' scores with at most that many alarms.
    """
    return _sensitivities(matched(images, limit), sum(len(image.boxes) for image in images), len(images))


def _sensitivities(matches: Matches, total: int, images: int) -> dict[float, float]:
    if not total:
        return dict.fromkeys(ALARMS, math.nan)
    scores, correct = matches
    ends = _ends_of_ties(scores)
    found, alarms = np.cumsum(correct)[ends], np.cumsum(~correct)[ends] / images
    return {rate: float(found[alarms <= rate].max(initial=0) / total) for rate in ALARMS}


def _ends_of_ties(scores: Float64[np.ndarray, " d"]) -> np.ndarray:
    """Return the last index of each run of equal scores: a threshold takes all of them or none."""
    return np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.zeros(0, int)


def _reaches(image: BoxImage, limit: float) -> bool:
    drawn = np.array([item.box for item in image.detections]).reshape(-1, 4)
    return bool((box_overlap(drawn, image.boxes) >= limit).any())
