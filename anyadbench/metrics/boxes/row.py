"""The boxes of a result's row: what a cell stores of them, and its numbers with intervals over subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anyadbench.metrics.boxes.numbers import NAMES, BoxImage, pooled
from anyadbench.metrics.intervals.interval import interval, too_few
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.intervals.plain import amount_interval

MOST_DETECTIONS = 100
"""Detections of a picture that count, the highest; as in COCO."""

SHARES = NAMES[:-1]
"""Numbers from 0 to 1; the last one is a count."""

_NO_THRESHOLD = "No threshold: no validation normal slice can serve this subset."


@dataclass(frozen=True, eq=False)
class RowBoxes:
    """Boxes and detections of one subset on one test set.

    Attributes:
        threshold: Pixels above it form detections; ``None`` without validation normals, and then there are none.
        subjects: Subject of each picture.
        slices: Scan and slice number of each picture.
        images: The pictures.
    """

    test: str
    subset: str
    threshold: float | None
    subjects: tuple[str, ...]
    slices: tuple[tuple[str, int], ...]
    images: tuple[BoxImage, ...]


def row_boxes(
    test: str, subset: str, threshold: float | None, found: Sequence[tuple[str, str, int, BoxImage]]
) -> RowBoxes:
    """Return a row from its pictures: subject, scan, slice number, and boxes."""
    subjects = tuple(subject for subject, *_ in found)
    places = tuple((scan, number) for _, scan, number, _ in found)
    return RowBoxes(test, subset, threshold, subjects, places, tuple(image for *_, image in found))


def box_replicates(row: RowBoxes) -> Replicates:
    """Return every number of a row, and each without one subject and all its pictures."""
    names = tuple(sorted(set(row.subjects)))
    images, owners = pooled(row.images), np.array(row.subjects)
    point = _values(images.numbers())
    jack = [_values(images.numbers(owners != name)) for name in names]
    return Replicates(names, NAMES, point[None], np.stack(jack)[None])


def _values(numbers: dict[str, float]) -> np.ndarray:
    return np.array([numbers[name] for name in NAMES], dtype=np.float64)


def box_numbers(row: RowBoxes) -> dict[str, Any]:
    """Return the fields of `anyadbench.results.Boxes` by name."""
    line = box_replicates(row)
    point = dict(zip(NAMES, line.point[0].tolist(), strict=True))
    if row.threshold is None:
        point |= dict.fromkeys(NAMES[1:], math.nan)
    reasons = {
        name: _NO_THRESHOLD if row.threshold is None and name != "hit_rate" else "No picture of this row has a box."
        for name, value in point.items()
        if math.isnan(value)
    }
    if few := too_few(len(line.subjects)):
        reasons["intervals"] = few
    found = {name: interval(line, name) for name in SHARES}
    found[NAMES[-1]] = amount_interval(*line.metric(NAMES[-1]), counted=True)
    if not few:
        reasons |= {f"{name}_interval": one.reason for name, one in found.items() if one.reason and name not in reasons}
    ends = {name: (one.low, one.high) for name, one in found.items() if not one.reason and name not in reasons}
    return {
        "n_subjects": len(line.subjects),
        "n_images": len(row.images),
        "n_boxes": sum(len(image.boxes) for image in row.images),
        "threshold": row.threshold,
        "metrics": {name: None if math.isnan(value) else value for name, value in point.items()},
        "intervals": ends,
        "reasons": reasons,
    }
