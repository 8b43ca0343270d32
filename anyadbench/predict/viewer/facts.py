"""What a report and a list of patients state about a prediction, in words and rounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.predict.findings.sentences import MEANING, ml, percentile_text
from anyadbench.sequences import SHORT, format_subset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyadbench.predict.findings.clusters import Point
    from anyadbench.predict.prediction import Prediction

MAX_ROWS = 50
"""Clusters in the report's table; ``clusters.csv`` has all."""


@dataclass(frozen=True)
class Fact:
    """One number with its name, and what a reader needs to judge it."""

    name: str
    value: str
    detail: str = ""


def key_facts(prediction: Prediction) -> list[Fact]:
    """Return the numbers at the top of a report."""
    clusters = "no mask" if prediction.mask is None else str(len(prediction.clusters))
    found = [
        _score(prediction),
        _volume(prediction),
        Fact("Clusters", clusters, _largest(prediction)),
        Fact("Slices that count", f"{prediction.n_counted} of {prediction.n_brain}", _others(prediction)),
        Fact("Shown to the method", ", ".join(SHORT[name] for name in prediction.shown)),
        Fact("Time", f"{prediction.seconds:.1f} s", "From reading the scans to the map."),
    ]
    if prediction.alarm is not None:
        found.insert(1, _alarm(prediction.alarm))
    return found


def _score(prediction: Prediction) -> Fact:
    if prediction.patient_score is None:
        return Fact("Patient score", "none", "See the notes.")
    found, value = prediction.percentiles, f"{prediction.patient_score:.4g}"
    if found is None or found.patient is None:
        return Fact("Patient score", value, "No percentile: the cell has too few normals to compare with.")
    number = found.n_scans if found.among == "scans" else found.n_slices
    text = percentile_text(found.patient, f"{number} normal {found.among}")
    return Fact("Patient score", value, f"{text[0].upper()}{text[1:]} ({found.source}).")


def _volume(prediction: Prediction) -> Fact:
    name, volume, reference = "Volume above the threshold", prediction.volume_ml, prediction.reference
    if volume is None:
        return Fact(name, "no mask", "See the notes.")
    if reference is None:
        return Fact(name, "not shown", "The cell has no normals to compare it with.")
    low, high = reference["normal_volume_ml"]
    normal = f"Normal {reference['among']} of this brain volume have {ml(low)} to {ml(high)} ml"
    return Fact(name, f"{ml(volume)} ml", f"{normal} ({reference['range']} of {reference['n']}).")


def _others(prediction: Prediction) -> str:
    if prediction.n_counted >= prediction.n_brain:
        return "All slices with brain."
    return "The others have too little brain: mask, volume and patient score say nothing about them."


def _alarm(alarm: Mapping[str, Any]) -> Fact:
    text = f"threshold {alarm['threshold']:.4g}, which at most {100 * alarm['rate']:.0f} % of normals exceed"
    return Fact("Alarm", "yes" if alarm["alarm"] else "no", text)


def cluster_rows(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the lines of the table of clusters, from the highest peak to the lowest."""
    return [
        {
            "number": item.number, "volume": ml(item.volume_ml), "place": place_text(item.peak_mm),
            "voxel": ", ".join(map(str, item.peak_index)), "peak": f"{item.peak:.4g}", "mean": f"{item.mean:.4g}",
            "percentile": "–" if item.percentile is None else f"{int(item.percentile)} %",
        }
        for item in prediction.clusters[:MAX_ROWS]
    ]  # fmt: skip


def cluster_caption(prediction: Prediction) -> str:
    """Return what the table of clusters shows."""
    if prediction.mask is None:
        return next((note for note in prediction.notes if note.startswith("No mask")), "No mask.")
    if not prediction.clusters:
        return "No cluster lies above the threshold."
    more = len(prediction.clusters) - MAX_ROWS
    rest = f" {more} with lower peaks are only there." if more > 0 else ""
    return (
        "26-connected clusters inside the brain, from the highest peak to the lowest. Places are NIfTI world "
        "coordinates: right or left, anterior or posterior, superior or inferior of the origin. Percentile: share of "
        f"normal slices at that height whose own peak is lower. clusters.csv has the centres too.{rest}"
    )


def map_facts(prediction: Prediction) -> str:
    """Return the numbers of one subset's map in a sentence."""
    volume = _volume(prediction)
    score = prediction.patient_score
    parts = ["no patient score" if score is None else f"patient score {score:.4g}"]
    if prediction.mask is not None and prediction.reference is not None:
        parts.append(f"{volume.value} above the threshold ({volume.detail[0].lower()}{volume.detail[1:-1]})")
    return f"Map from {format_subset(prediction.shown)}: {'; '.join(parts)}."


def preparation(prediction: Prediction) -> list[dict[str, Any]]:
    """Return the steps that prepared the scans, with what was measured; empty where nothing was done."""
    return [
        {
            "sequence": SHORT.get(step.sequence, step.sequence), "name": step.name, "text": step.text,
            "figures": ", ".join(f"{name} {value:.4g}" for name, value in step.figures.items()),
            "seconds": f"{step.seconds:.1f}", "warning": step.warning,
        }
        for step in getattr(prediction, "prepared", ())
    ]  # fmt: skip


def moves(prediction: Prediction) -> list[dict[str, str]]:
    """Return how far registration moved each input: the centre of the brain in mm, and the rotation in degrees."""
    found = []
    centre = prediction.affine @ [*np.argwhere(prediction.brain).mean(axis=0), 1.0]
    for name, matrix in getattr(prediction, "transforms", {}).items():
        if not np.allclose(matrix, np.eye(4), atol=1e-6):
            shift = float(np.linalg.norm((matrix @ centre - centre)[:3]))
            angle = float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))
            found.append({"sequence": SHORT[name], "shift": f"{shift:.1f}", "angle": f"{angle:.1f}"})
    return found


def provenance(prediction: Prediction) -> list[tuple[str, Any]]:
    """Return the cell, the threshold and its source."""
    origin = prediction.origin
    threshold = "" if prediction.threshold is None else f"{prediction.threshold:.4g}, "
    return [
        ("Patient score", MEANING),
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
    return f"The largest has {ml(largest.volume_ml)} ml; its peak is at {place_text(largest.peak_mm)} mm."
