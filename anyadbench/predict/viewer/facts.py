"""What a report and a list of patients state about a prediction, in words and rounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyadbench.sequences import SHORT, format_subset

if TYPE_CHECKING:
    from anyadbench.predict.findings.clusters import Point
    from anyadbench.predict.prediction import Prediction

MAX_ROWS = 50
"""Clusters in the report's table; ``prediction.json`` has all."""


@dataclass(frozen=True)
class Fact:
    """One number with its name, and what a reader needs to judge it."""

    name: str
    value: str
    detail: str = ""


def key_facts(prediction: Prediction) -> list[Fact]:
    """Return the numbers at the top of a report."""
    clusters = "no threshold" if prediction.mask is None else str(len(prediction.clusters))
    return [
        Fact("Patient score", f"{prediction.patient_score:.4g}", score_detail(prediction)),
        Fact("Volume above the threshold", volume_text(prediction.volume_ml), reference_text(prediction)),
        Fact("Clusters", clusters, _largest(prediction)),
        Fact("Shown to the method", ", ".join(SHORT[name] for name in prediction.shown)),
        Fact("Time", f"{prediction.seconds:.1f} s", "from reading the scans to the map"),
    ]


def score_detail(prediction: Prediction) -> str:
    """Return how the patient score compares with normals, and what it is."""
    what = "mean of the highest 1 % of the brain; higher is more abnormal"
    found = prediction.percentiles
    if found is None or found.patient is None:
        return f"{what}; no percentile: the cell has no normals for {format_subset(prediction.shown)}"
    number = found.n_scans if found.among == "scans" else found.n_slices
    return f"higher than {found.patient:.0f} % of {number} normal {found.among} ({found.source}); {what}"


def reference_text(prediction: Prediction) -> str:
    """Return what normals have above the threshold."""
    return "no reference range" if prediction.reference is None else str(dict(prediction.reference))


def volume_text(volume_ml: float | None) -> str:
    """Return a volume in words."""
    return "no threshold" if volume_ml is None else f"{ml(volume_ml)} ml"


def ml(volume_ml: float) -> str:
    """Return millilitres with two decimals, or more for less than a tenth."""
    return f"{volume_ml:.2f}" if volume_ml >= 0.1 else f"{volume_ml:.3f}"


def cluster_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the lines of the table of clusters, from the highest peak to the lowest."""
    return [
        {
            "number": item.number, "volume": ml(item.volume_ml), "place": place_text(item.peak_mm),
            "voxel": ", ".join(map(str, item.peak_index)), "peak": f"{item.peak:.4g}", "mean": f"{item.mean:.4g}",
            "percentile": "–" if item.percentile is None else f"{item.percentile:.0f}",
        }
        for item in prediction.clusters[:MAX_ROWS]
    ]  # fmt: skip


def cluster_caption(prediction: Prediction) -> str:
    """Return what the table of clusters shows."""
    if prediction.mask is None:
        return prediction.threshold_from
    if not prediction.clusters:
        return "No cluster lies above the threshold."
    more = len(prediction.clusters) - MAX_ROWS
    rest = f" The {more} with lower peaks are in prediction.json." if more > 0 else ""
    return (
        "26-connected clusters inside the brain, from the highest peak to the lowest. Places are NIfTI world "
        "coordinates: right or left, anterior or posterior, superior or inferior of the origin. Percentile: share of "
        f"normal slices at that height whose own peak is lower.{rest}"
    )


def map_facts(prediction: Prediction) -> str:
    """Return the numbers of one subset's map in a sentence."""
    volume = "no threshold" if prediction.mask is None else f"{volume_text(prediction.volume_ml)} above the threshold"
    score = f"patient score {prediction.patient_score:.4g}"
    return f"Map from {format_subset(prediction.shown)}: {score}, {volume}."


def provenance(prediction: Prediction) -> list[tuple[str, Any]]:
    """Return the cell, the threshold and its source."""
    origin = prediction.origin
    threshold = "" if prediction.threshold is None else f"{prediction.threshold:.4g}, "
    return [
        ("Threshold", threshold + prediction.threshold_from),
        (
            "Method",
            f"{origin['method']}, budget {origin['budget']}, seed {origin['seed']}, weights {origin['weights']}",
        ),
        ("Protocol", origin["protocol"]),
        ("Cell", f"{origin['folder']} ({origin['cell_id'][:16]})"),
    ]


def place_text(point: Point) -> str:
    """Return a place in NIfTI world coordinates (RAS+) as letters and millimetres."""
    letters = [pair[value < 0] for pair, value in zip(("RL", "AP", "SI"), point, strict=True)]
    return ", ".join(f"{letter} {abs(value):.0f}" for letter, value in zip(letters, point, strict=True))


def _largest(prediction: Prediction) -> str:
    if not prediction.clusters:
        return ""
    largest = max(prediction.clusters, key=lambda item: item.volume_ml)
    return f"the largest has {ml(largest.volume_ml)} ml, at {place_text(largest.peak_mm)} mm"
