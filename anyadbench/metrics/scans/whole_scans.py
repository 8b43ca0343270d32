"""What a cell stores of its whole scans, as the numbers of rows are computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyadbench.metrics.lesions.cohort import cohort_numbers

if TYPE_CHECKING:
    from anyadbench.metrics.boxes.row import RowBoxes
    from anyadbench.metrics.lesions.record import ScanRecord

Place = tuple[str, str]
"""Test set and subset."""


@dataclass(frozen=True)
class RowScans:
    """The scans of one row.

    Attributes:
        test: Test set.
        subset: Label of the subset.
        rule: The sentence of the rule by which lesions are found.
        threshold: Score above which a voxel is flagged, from validation normals; ``None`` without one.
        grid: Common thresholds of the records, falling.
        subjects: Subject of each scan.
        scans: Name of each scan.
        records: One per scan.
    """

    test: str
    subset: str
    rule: str
    threshold: float | None
    grid: tuple[float, ...]
    subjects: tuple[str, ...]
    scans: tuple[str, ...]
    records: tuple[ScanRecord, ...]


@dataclass(frozen=True)
class SubjectScore:
    """The anomaly score of a whole subject.

    Attributes:
        test: Test set; empty for a validation subject.
        subset: Label of the subset.
        part: ``val`` or ``test``.
        healthy: Whether the data set calls the subject healthy.
        score: Mean score of the millilitre of brain with the highest scores, the highest of the subject's scans.
        age: Years; ``None`` if unknown.
        sex: As the data set writes it; empty if unknown.
        site: As the data set writes it; empty if unknown.
    """

    test: str
    subset: str
    part: str
    subject: str
    healthy: bool
    score: float
    age: float | None = None
    sex: str = ""
    site: str = ""


@dataclass(frozen=True)
class WholeScans:
    """Everything that a cell stores besides slices and pixels.

    Attributes:
        rows: Scans by test set and subset; empty if the protocol does not score whole scans.
        scores: Scores of subjects; empty without healthy ones.
        sites: Site of each subject by test set; empty where a data set names none.
        boxes: Boxes by test set and subset; empty where lesions have masks.
    """

    rows: Mapping[Place, RowScans] = field(default_factory=dict)
    scores: Sequence[SubjectScore] = ()
    sites: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    boxes: Mapping[Place, RowBoxes] = field(default_factory=dict)


def scan_table(row: RowScans) -> list[dict[str, str | int | float | None]]:
    """Return one line per scan: volumes, Dice, lesions, and false alarms at the threshold; ``None`` where undefined."""
    table: list[dict[str, str | int | float | None]] = []
    for subject, scan, record in zip(row.subjects, row.scans, row.records, strict=True):
        own = {name: float(values[0]) for name, values in cohort_numbers([record]).items()}
        flagged, lesion = record.has_threshold, record.truth > 0
        line: dict[str, str | int | float | None] = {
            "subject": subject,
            "scan": scan,
            "truth_ml": record.truth * record.voxel_ml,
            "flagged_ml": record.predicted * record.voxel_ml if flagged else None,
            "dice": own["dice"] if flagged and lesion else None,
            "dice_best": own["dice_best"] if lesion else None,
            "lesions": len(record.lesion_voxels),
            "found": int(record.lesion_found.sum()) if flagged else None,
            "alarms": int(record.alarm_bins.sum()) if flagged else None,
        }
        table.append(line)
    return table
