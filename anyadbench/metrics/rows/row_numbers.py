"""Every number of a result's row, from its slice table and its pixel statistics alone.

The run and the check of a submission both call this, so every number on a board follows from its stored statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.evaluation import reasons_from_counts
from anyadbench.metrics.core.image import image_metrics, lesion_size_metrics
from anyadbench.metrics.core.thresholds import decision_values
from anyadbench.metrics.intervals.interval import intervals, too_few
from anyadbench.metrics.intervals.jackknife import jackknife_values, one_seed
from anyadbench.metrics.intervals.resample import HEIGHT_OF
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS, MIN_SUBJECTS
from anyadbench.metrics.rows.brain_reasons import brain_reasons
from anyadbench.metrics.rows.replicates import RowReplicates

if TYPE_CHECKING:
    from anyadbench.metrics.rows.brain_pixels import Ranked
    from anyadbench.metrics.rows.row_pixels import RowPixels

SIZE_EDGES = (1, 100, 400, 1600)
"""Lower ends of the bins of lesion area, in pixels of the native slice; the last bin has no upper end."""

_RATIOS = ("dice", "sensitivity", "specificity", "precision")
_COUNTS = ("tp", "fp", "fn", "tn")

HEIGHT_SCORE = "image_score_height"
"""Column of the slice table: the slice score normalised by height and brain area, where the protocol asks for it."""

IGNORED_PX = "ignored_px"
"""Column of the slice table: pixels on the scoring grid that count neither way, where a data set can have such."""

SliceScores = Mapping[str, Any]


def row_numbers(
    pixels: RowPixels | None, records: Sequence[SliceScores], complete: Sequence[str]
) -> tuple[dict[str, Any], RowReplicates | None]:
    """Return the numbers of a row, and its metrics without each subject.

    Args:
        pixels: Pixel statistics; ``None`` for a row without slices.
        records: The row's slices: ``subject``, ``scan``, ``label``, ``lesion_px`` and ``image_score`` of each, and
            ``image_score_height`` where the protocol asks for it (``None`` where a slice has none).
        complete: Subjects of the test set's row with all sequences of the protocol.

    Returns:
        Fields of `anyadbench.results.Row` by name, and the values without a subject; ``None`` for a row without slices.
    """
    found = _counts(records)
    if pixels is None or not records:
        return {**found, "metrics": dict.fromkeys((*METRICS, *BALANCED))}, None
    labels = np.array([bool(record["label"]) for record in records])
    images = np.array([float(record["image_score"]) for record in records])
    values = image_metrics(images, labels) | pixels.steps.compute()
    names = [*METRICS, *BALANCED]
    reasons = reasons_from_counts(
        {
            "normal_slices": found["n_normal"], "abnormal_slices": found["n_abnormal"],
            "normal_pixels": pixels.steps.normal_pixels, "lesion_pixels": pixels.steps.lesion_pixels,
        }
    )  # fmt: skip
    reasons |= {name: reasons["image_ap"] for name in BALANCED if "image_ap" in reasons}
    brain, heights = pixels.brain, _heights(records)
    if brain is not None:
        names += BRAIN
        reasons |= (hidden := brain_reasons(pixels.steps, brain.steps))
        brain = None if hidden else brain
        values |= dict.fromkeys(BRAIN, math.nan) if brain is None else brain.steps.compute()
    if any(HEIGHT_SCORE in record for record in records):
        names += HEIGHT
        found_heights, why = _height_values(heights, labels)
        values |= found_heights
        reasons |= {name: why or reasons.get("image_ap", "") for name in HEIGHT if math.isnan(values[name])}
    replicates = _replicates(pixels, records, complete, values, brain)
    ends = {} if found["n_subjects"] < MIN_SUBJECTS else intervals(replicates.own)
    if few := too_few(found["n_subjects"]):
        reasons["intervals"] = few
    found |= {"intervals": {name: (one.low, one.high) for name, one in ends.items() if not one.reason}}
    if pixels.decision is None:
        reasons["threshold"] = "No threshold: no validation normal slice can serve this subset."
    found |= {"metrics": {name: _number(values[name]) for name in names}, "reasons": reasons}
    found |= {"sizes": _sizes(images, records), "threshold": _threshold(pixels)}
    if not pixels.steps.exact:
        bounds = pixels.steps.error_bound() | ({} if brain is None else brain.steps.error_bound())
        known = {name: bound for name, bound in bounds.items() if not math.isnan(bound)}
        found |= {"pixels": "streaming", "error_bound": known}
    return found, replicates


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _counts(records: Sequence[SliceScores]) -> dict[str, Any]:
    abnormal = sum(bool(record["label"]) for record in records)
    return {
        "n_subjects": len({record["subject"] for record in records}),
        "n_scans": len({(record["subject"], record["scan"]) for record in records}),
        "n_slices": len(records),
        "n_normal": len(records) - abnormal,
        "n_abnormal": abnormal,
    }


def _heights(records: Sequence[SliceScores]) -> np.ndarray | None:
    """Return the normalised slice scores, or ``None`` if a slice has none."""
    scores = [record.get(HEIGHT_SCORE) for record in records]
    return None if None in scores else np.array(scores, dtype=np.float64)


def _height_values(scores: np.ndarray | None, labels: np.ndarray) -> tuple[dict[str, float], str]:
    """Return the metrics of normalised slice scores, and why there are none."""
    if scores is None:
        why = "No score normalised by height: too few training normals can serve this subset."
        return dict.fromkeys(HEIGHT, math.nan), why
    values = image_metrics(scores, labels)
    return {name: values[plain] for name, plain in zip(HEIGHT, HEIGHT_OF, strict=True)}, ""


def _replicates(
    pixels: RowPixels,
    records: Sequence[SliceScores],
    complete: Sequence[str],
    points: Mapping[str, float],
    brain: Ranked | None,
) -> RowReplicates:
    mine: dict[str, list[SliceScores]] = {name: [] for name in pixels.subjects}
    for record in records:
        mine[record["subject"]].append(record)
    labels = [np.array([bool(r["label"]) for r in listed]) for listed in mine.values()]
    images = [
        (np.array([float(r["image_score"]) for r in listed]), label)
        for listed, label in zip(mine.values(), labels, strict=True)
    ]
    heights = [(_heights(listed), label) for listed, label in zip(mine.values(), labels, strict=True)]
    counts = None if brain is None else brain.cohort
    known = None if any(scores is None for scores, _ in heights) else heights
    values = partial(jackknife_values, pixels.cohort, images, points, brain=counts, heights=known)
    own = one_seed(pixels.subjects, *values())
    places = [place for place, name in enumerate(pixels.subjects) if name in set(complete)]
    if len(places) == len(pixels.subjects):
        return RowReplicates(own, own)
    shared = [pixels.subjects[place] for place in places]
    return RowReplicates(own, one_seed(shared, *values(among=places)))


def _sizes(images: np.ndarray, records: Sequence[SliceScores]) -> list[dict[str, Any]]:
    areas = np.array([int(record["lesion_px"]) if record["label"] else 0 for record in records])
    bins = []
    for number, values in enumerate(lesion_size_metrics(images, areas, SIZE_EDGES)):
        high = SIZE_EDGES[number + 1] if number + 1 < len(SIZE_EDGES) else None
        metrics = {name: _number(values[name]) for name in ("image_auroc", "image_ap", "image_f1")}
        bins.append({"low": SIZE_EDGES[number], "high": high, "n": int(values["n"]), **metrics})
    return bins


def _threshold(pixels: RowPixels) -> dict[str, Any] | None:
    if pixels.decision is None:
        return None
    decision, steps = pixels.decision, pixels.decided
    values = decision_values(decision.tp, decision.fp, steps.normal_pixels, steps.lesion_pixels)
    found: dict[str, Any] = {"value": decision.quantile.value}
    found |= {name: _number(values[name]) for name in _RATIOS}
    return found | {name: int(values[name]) for name in _COUNTS}
