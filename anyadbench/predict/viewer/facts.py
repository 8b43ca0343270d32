"""What a report and a list of patients say about a prediction, in words and rounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from anyadbench.predict.prediction import Prediction


@dataclass(frozen=True)
class Fact:
    """One number with its name and what the reader needs to judge it."""

    name: str
    value: str
    detail: str = ""


def key_facts(prediction: Prediction) -> list[Fact]:
    """Return the numbers at the top of a report."""
    return [
        Fact("Patient score", f"{prediction.patient_score:.4g}", "highest slice; higher is more abnormal"),
        Fact("Volume above the threshold", volume_text(prediction.volume_ml)),
        Fact("Shown to the method", ", ".join(SHORT[name] for name in prediction.shown)),
        Fact("Time", f"{prediction.seconds:.1f} s", "from reading the scans to the map"),
    ]


def volume_text(volume_ml: float | None) -> str:
    """Return a volume in words."""
    return "no threshold" if volume_ml is None else f"{volume_ml:.2f} ml"


def provenance(prediction: Prediction) -> list[tuple[str, Any]]:
    """Return the cell, the threshold and its source."""
    origin = prediction.origin
    threshold = "" if prediction.threshold is None else f"{prediction.threshold:.4g}, "
    return [
        ("Threshold", threshold + prediction.threshold_from),
        ("Method", f"{origin['method']}, budget {origin['budget']}, seed {origin['seed']}, weights {origin['weights']}"),
        ("Protocol", origin["protocol"]),
        ("Cell", f"{origin['folder']} ({origin['cell_id'][:16]})"),
    ]


def place_text(point: tuple[float, float, float]) -> str:
    """Return a place in NIfTI world coordinates (RAS+) as letters and millimetres."""
    letters = ("RL"[value < 0] if axis == 0 else "AP"[value < 0] if axis == 1 else "SI"[value < 0]
               for axis, value in enumerate(point))  # fmt: skip
    return ", ".join(f"{letter} {abs(value):.0f}" for letter, value in zip(letters, point, strict=True))
