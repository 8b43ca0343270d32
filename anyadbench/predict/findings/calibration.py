"""A calibration: thresholds and percentiles of a cell from a site's own normals, read from its folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.files import read_json
from anyadbench.hashing import sha256_file
from anyadbench.results.normals import NormalScores, load_normals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyadbench.predict.cell import TrainedCell

FORMAT = 1

RECORD, SCORES = "calibration.json", "normals.npz"

RATE = 0.05
"""Largest share of a site's normals that may alarm."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A cell's thresholds, percentiles and alarms from a site's own normals.

    Attributes:
        folder: Its folder.
        record: Content of ``calibration.json``: provenance, counts, thresholds, alarms, drift.
        normals: Scores of the normals by subset.
        sha256: Hash of ``calibration.json``, which holds that of the scores.
    """

    folder: Path
    record: Mapping[str, Any]
    normals: NormalScores
    sha256: str

    @property
    def source(self) -> str:
        """What the normals are, for sentences."""
        count = self.record["counts"]["scans"]
        return f"the site's own normals ({count} scans, {self.folder.name})"

    def check_cell(self, cell: TrainedCell) -> None:
        """Check that the calibration was made with a cell.

        Raises:
            UserError: If it was made with another one.
        """
        own = self.record["cell"]
        if own["cell_id"] != cell.result.cell_id:
            raise UserError(
                f"--calibration {self.folder} was made for another cell ({own['folder']}), whose scores have another "
                f"scale; run 'anyadbench calibrate --cell {cell.folder}' with the same normals."
            )

    def alarm(self, subset: str, score: float) -> dict[str, Any] | None:
        """Return whether a patient score is an alarm, with threshold and promise; ``None`` without a threshold."""
        own = self.record["subsets"].get(subset, {}).get("alarm")
        return None if own is None else {"alarm": bool(score > own["threshold"]), **own}


def read_calibration(folder: Path) -> Calibration:
    """Read the folder that 'anyadbench calibrate' wrote.

    Raises:
        UserError: If it is missing, unfinished or damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UserError(
            f"--calibration {folder} holds no {RECORD}; give the folder of a finished 'anyadbench calibrate --out'."
        )
    try:
        record = read_json(path)
        _check(record)
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"--calibration {folder}: {RECORD} is damaged; run 'anyadbench calibrate' again.") from None
    scores = folder / SCORES
    if not scores.is_file() or sha256_file(scores) != record["normals_sha256"]:
        raise UserError(
            f"--calibration {folder}: {SCORES} is missing or not the one that {RECORD} was written with; run "
            "'anyadbench calibrate' again."
        )
    return Calibration(folder, record, load_normals(scores, f"{folder.name}/{SCORES}"), sha256_file(path))


def alarm_threshold(scores: list[float], rate: float = RATE) -> float | None:
    """Return the patient score that at most a share of new normals exceeds; ``None`` if there are too few.

    With n exchangeable scores, the k-th smallest, k = ceil((n + 1)(1 - rate)), is exceeded by a new one with a
    probability of at most ``rate`` (split conformal prediction: Vovk et al. 2005; Papadopoulos et al. 2002).

    Args:
        scores: One of each normal subject.
        rate: Promised share, above 0 and below 1.
    """
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    return sorted(scores)[k - 1] if k <= len(scores) else None


def fewest_for(rate: float = RATE) -> int:
    """Return the fewest subjects from which a share of alarms can be promised: 19 for 5 %."""
    return math.ceil(1 / rate - 1 - 1e-9)


def _check(record: Mapping[str, Any]) -> None:
    if record["format"] != FORMAT or not isinstance(record["normals_sha256"], str):
        raise ValueError("format")
    int(record["counts"]["scans"])
    str(record["cell"]["cell_id"]), str(record["cell"]["folder"])
    for entry in record["subsets"].values():
        if entry["alarm"] is not None:
            float(entry["alarm"]["threshold"])
