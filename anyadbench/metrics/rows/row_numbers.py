"""Every number of a result's row, from its slice table and its pixel statistics alone.

The run and the check of a submission both call this, so every number on a board follows from its stored statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.evaluation import reasons_from_counts
from anyadbench.metrics.core.image import image_metrics, lesion_size_metrics
from anyadbench.metrics.core.thresholds import decision_values
from anyadbench.metrics.intervals.bootstrap import MIN_SUBJECTS, RESAMPLES, interval, replicates
from anyadbench.metrics.intervals.resample import draw_subjects
from anyadbench.metrics.names import METRICS

if TYPE_CHECKING:
    from jaxtyping import Float32

    from anyadbench.metrics.rows.row_pixels import RowPixels

SIZE_EDGES = (1, 100, 400, 1600)
"""Lower ends of the bins of lesion area, in pixels of the native slice; the last bin has no upper end."""

REPLICATED = METRICS
"""Metrics whose resamples are stored."""

_RATIOS = ("dice", "sensitivity", "specificity", "precision")
_COUNTS = ("tp", "fp", "fn", "tn")

SliceScores = Mapping[str, Any]


def row_numbers(
    pixels: RowPixels | None, records: Sequence[SliceScores], drawn_from: Sequence[str]
) -> tuple[dict[str, Any], Float32[np.ndarray, "m r"]]:
    """Return the numbers of a row and the resamples of its metrics.

    Args:
        pixels: Pixel statistics; ``None`` for a row without slices.
        records: The row's slices: ``subject``, ``scan``, ``label``, ``lesion_px`` and ``image_score`` of each.
        drawn_from: All subjects of the test set. Resamples draw from these, and a row uses the ones that it has, so
            that all rows of a test set, and all methods, see the same resample.

    Returns:
        Fields of `anyadbench.results.Row` by name, and resamples of the metrics in `REPLICATED`, NaN where undefined.
    """
    found = _counts(records)
    resampled = np.full((len(REPLICATED), RESAMPLES), np.nan, dtype=np.float32)
    if pixels is None or not records:
        return {**found, "metrics": dict.fromkeys(METRICS)}, resampled
    labels = np.array([bool(record["label"]) for record in records])
    images = np.array([float(record["image_score"]) for record in records])
    values = image_metrics(images, labels) | pixels.steps.compute()
    reasons = reasons_from_counts(
        {
            "normal_slices": found["n_normal"], "abnormal_slices": found["n_abnormal"],
            "normal_pixels": pixels.steps.normal_pixels, "lesion_pixels": pixels.steps.lesion_pixels,
        }
    )  # fmt: skip
    intervals: dict[str, tuple[float | None, float | None]] = {}
    if found["n_subjects"] >= MIN_SUBJECTS:
        intervals, resampled = _intervals(pixels, records, drawn_from, values)
    else:
        reasons["intervals"] = (
            f"No interval: {found['n_subjects']} test subject(s), and resampling subjects needs {MIN_SUBJECTS}."
        )
    if pixels.decision is None:
        reasons["threshold"] = "No threshold: no validation normal slice can serve this subset."
    found |= {"metrics": {name: _number(values[name]) for name in METRICS}, "reasons": reasons, "intervals": intervals}
    found |= {"sizes": _sizes(images, records), "threshold": _threshold(pixels)}
    if not pixels.steps.exact:
        bounds = {name: bound for name, bound in pixels.steps.error_bound().items() if not math.isnan(bound)}
        found |= {"pixels": "streaming", "error_bound": bounds}
    return found, resampled


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


def _intervals(
    pixels: RowPixels, records: Sequence[SliceScores], drawn_from: Sequence[str], points: Mapping[str, float]
) -> tuple[dict[str, tuple[float | None, float | None]], Float32[np.ndarray, "m r"]]:
    mine: dict[str, list[SliceScores]] = {name: [] for name in pixels.subjects}
    for record in records:
        mine[record["subject"]].append(record)
    images = [
        (np.array([float(r["image_score"]) for r in listed]), np.array([bool(r["label"]) for r in listed]))
        for listed in mine.values()
    ]
    everyone = sorted(drawn_from)
    draws = draw_subjects(len(everyone), RESAMPLES, seed=0)[:, [everyone.index(name) for name in pixels.subjects]]
    values = replicates(pixels.cohort, images, draws, points)
    ends = {name: interval(found) for name, found in values.items()}
    stored = np.stack([values[name] for name in REPLICATED]).astype(np.float32)
    return {name: (_number(low), _number(high)) for name, (low, high) in ends.items()}, stored


def _sizes(images: np.ndarray, records: Sequence[SliceScores]) -> list[dict[str, Any]]:
    areas = np.array([int(record["lesion_px"]) if record["label"] else 0 for record in records])
    bins = []
    for number, values in enumerate(lesion_size_metrics(images, areas, SIZE_EDGES)):
        high = SIZE_EDGES[number + 1] if number + 1 < len(SIZE_EDGES) else None
        metrics = {name: _number(value) for name, value in values.items() if name != "n"}
        bins.append({"low": SIZE_EDGES[number], "high": high, "n": int(values["n"]), **metrics})
    return bins


def _threshold(pixels: RowPixels) -> dict[str, Any] | None:
    if pixels.decision is None:
        return None
    decision, steps = pixels.decision, pixels.steps
    values = decision_values(decision.tp, decision.fp, steps.normal_pixels, steps.lesion_pixels)
    found: dict[str, Any] = {"value": decision.quantile.value}
    found |= {name: _number(values[name]) for name in _RATIOS}
    return found | {name: int(values[name]) for name in _COUNTS}
