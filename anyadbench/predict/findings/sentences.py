"""Scores and volumes in words; a volume never stands without its reference range."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MEANING = (
    "Mean of the map over the highest 1 % of the brain in slices that count; it is not a measure of lesion load, and "
    "scores of different subsets or cells cannot be compared."
)
"""What a patient score is."""


def percentile_text(percentile: float | None, of: str) -> str:
    """Return a percentile in words, such as ``higher than 97 % of 48 normal slices``."""
    if percentile is None:
        return ""
    share = "all" if percentile >= 100 else f"{int(percentile)} % of"
    return f"higher than {share} {of}"


def patient_text(scores: Mapping[str, Any]) -> str:
    """Return the patient score of a ``prediction.json`` with its percentile."""
    if scores["patient_score"] is None:
        return "no patient score"
    found = f"patient score {scores['patient_score']:.4g}"
    own = scores["percentiles"]
    if own is None:
        return found
    count = own["n_scans"] if own["among"] == "scans" else own["n_slices"]
    return f"{found} ({percentile_text(own['patient'], f'{count} normal ' + own['among'])})"


def volume_text(volume_ml: float | None, reference: Mapping[str, Any] | None) -> str:
    """Return the volume above the threshold beside its reference range.

    Without a threshold there is no volume, and without a reference range none is shown.
    """
    if volume_ml is None:
        return "no mask"
    if reference is None:
        return "a volume without a reference range, which is not shown"
    low, high = reference["normal_volume_ml"]
    return (
        f"{ml(volume_ml)} ml above the threshold; normal {reference['among']} of this brain volume have {ml(low)} to "
        f"{ml(high)} ml ({reference['range']} of {reference['n']})"
    )


def counted_text(counted: int, brain: int) -> str:
    """Return how many of the slices with brain mask, volume and patient score are about."""
    return f"{counted} of {brain} slices with brain count"


def clusters_text(clusters: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of clusters and the place of the highest peak."""
    if not clusters:
        return "no cluster"
    first = clusters[0]
    place = ", ".join(f"{value:.0f}" for value in first["peak_mm"])
    many = f"{len(clusters)} cluster{'' if len(clusters) == 1 else 's'}"
    return f"{many}, the highest peak in one of {ml(first['volume_ml'])} ml at ({place}) mm"


def top_line(scores: Mapping[str, Any]) -> str:
    """Return score, slices that count, volume, clusters and alarm of a ``prediction.json`` in one line."""
    counted = counted_text(scores["slices_counted"], scores["slices_with_brain"])
    parts = [patient_text(scores), counted, volume_text(scores["volume_above_threshold_ml"], scores["reference"])]
    if scores["volume_above_threshold_ml"] is not None:
        parts.append(clusters_text(scores["clusters"]))
    alarm = scores["alarm"]
    if alarm is not None:
        parts.append(f"{'ALARM' if alarm['alarm'] else 'no alarm'} (threshold {alarm['threshold']:.4g})")
    return "; ".join(parts)


def table_line(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return a patient's line of ``predictions.csv``; a volume is blank where it has no reference range."""
    reference, clusters = scores["reference"], scores["clusters"]
    low, high = reference["normal_volume_ml"] if reference else (None, None)
    masked = scores["volume_above_threshold_ml"] is not None
    return {
        **{name: scores[name] for name in ("patient", "subset", "patient_score")},
        "patient_percentile": scores["percentiles"] and scores["percentiles"]["patient"],
        "threshold": scores["threshold"],
        "volume_above_threshold_ml": scores["volume_above_threshold_ml"] if reference else None,
        "normal_volume_low_ml": low,
        "normal_volume_high_ml": high,
        "clusters": len(clusters) if masked else None,
        "largest_cluster_ml": max((item["volume_ml"] for item in clusters), default=None),
        "slices_with_brain": scores["slices_with_brain"],
        "slices_counted": scores["slices_counted"],
        "alarm": None if scores["alarm"] is None else int(scores["alarm"]["alarm"]),
    }


def subset_line(label: str, entry: Mapping[str, Any]) -> str:
    """Return one subset of a ``calibration.json`` in a line."""
    cell, alarm = entry["cell_threshold"], entry["alarm"]
    before = "" if cell is None else f" (the cell's own: {cell:.4g})"
    promise = (
        "no alarm threshold"
        if alarm is None
        else f"alarm above {alarm['threshold']:.4g}, which at most {alarm['rate']:.0%} of normals exceed"
    )
    return f"{label}: {entry['subjects']} subjects, threshold {entry['threshold']:.4g}{before}, {promise}"


def ml(volume: float) -> str:
    """Return millilitres with as many decimals as their size asks for."""
    return f"{volume:.3f}" if volume < 0.1 else f"{volume:.2f}" if volume < 10 else f"{volume:.1f}"
