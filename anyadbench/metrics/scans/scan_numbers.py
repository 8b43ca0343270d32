"""The numbers of a row's whole scans, with intervals over subjects, from its records alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anyadbench.metrics.intervals.interval import METHOD, Interval, interval, too_few
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.intervals.plain import amount_interval
from anyadbench.metrics.lesions.cohort import FALSE_POSITIVES, FROC_NAMES, cohort_numbers
from anyadbench.metrics.lesions.volumes import BIN_NAMES, VOLUME_BINS, volume_bins
from anyadbench.metrics.names import MIN_SUBJECTS
from anyadbench.metrics.scans.whole_scans import RowScans

SHARES = (
    "dice", "dice_best", "dice_common", "lesion_ap", *FROC_NAMES, "froc", "lesion_f1", "lesion_sensitivity",
    "lesion_precision", *(f"lesion_f1_{name}" for name in BIN_NAMES),
)  # fmt: skip
"""Numbers from 0 to 1; their intervals are made as those of all metrics."""

AMOUNTS = ("volume_bias_ml", "alarms_per_scan")
"""Numbers in millilitres or counts; their intervals are made by `amount_interval`."""

LIMITS = ("volume_low_ml", "volume_high_ml")
"""Limits of agreement, which are an interval themselves."""

SCAN_METRICS = (*SHARES, *AMOUNTS, *LIMITS)

NEAR = 2.0
"""Standard errors by which a point of the FROC must lie away from the end of the curve to have an interval."""

_AT_THRESHOLD = ("dice", "lesion_f1", "lesion_sensitivity", "lesion_precision", *AMOUNTS, *LIMITS)


def scan_replicates(row: RowScans) -> Replicates:
    """Return every number of a row, and each without one subject and all its scans."""
    names = tuple(dict.fromkeys(row.subjects))
    owner = np.array([names.index(name) for name in row.subjects])
    weights = np.ones((1 + len(names), len(row.records)))
    weights[1 + owner, np.arange(len(owner))] = 0.0
    # The last subject cannot be left out: no scan would be left.
    found = cohort_numbers(row.records, weights if len(names) > 1 else weights[:1])
    values = np.stack([found[name] for name in SCAN_METRICS], axis=1)
    jack = values[1:] if len(names) > 1 else np.full((1, len(SCAN_METRICS)), np.nan)
    return Replicates(names, SCAN_METRICS, values[:1], jack[None])


def scan_numbers(row: RowScans) -> dict[str, Any]:
    """Return the fields of `anyadbench.results.Scans` by name."""
    line = scan_replicates(row)
    lesions = sum(len(record.lesion_voxels) for record in row.records)
    point = dict(zip(SCAN_METRICS, line.point[0].tolist(), strict=True))
    reasons = {name: _reason(name, row, lesions) for name, value in point.items() if math.isnan(value)}
    patients = patients_of(row)
    ends = scan_intervals(line, [row])
    if few := too_few(len(line.subjects)):
        reasons["intervals"] = few
    elif patients < MIN_SUBJECTS:
        reasons["intervals"] = _few_patients(patients)
    else:
        reasons |= {interval_key(name): one.reason for name, one in ends.items() if one.reason and name not in reasons}
    return {
        "n_subjects": len(line.subjects),
        "n_scans": len(row.records),
        "n_lesions": lesions,
        "rule": row.rule,
        "threshold": row.threshold,
        "common_threshold": _common_threshold(row),
        "metrics": {name: None if math.isnan(value) else value for name, value in point.items()},
        "intervals": {name: (one.low, one.high) for name, one in ends.items() if not one.reason},
        "reasons": reasons,
        "bins": _bins(row),
    }


def patients_of(row: RowScans) -> int:
    """Return the number of subjects with a lesion."""
    return len({name for name, record in zip(row.subjects, row.records, strict=True) if record.truth})


def interval_key(name: str) -> str:
    """Return under which key of a row's reasons it says why a number has no interval."""
    return f"{name}_interval"


def _few_patients(patients: int) -> str:
    have = f"{patients} test subject{'s have' if patients != 1 else ' has'} a lesion"
    return f"No interval but of volume and alarms: {have}, and one needs {MIN_SUBJECTS}."


def scan_intervals(line: Replicates, rows: Sequence[RowScans]) -> dict[str, Interval]:
    """Return the 95 % interval of each number by name, or why there is none.

    Shares have the interval of `anyadbench.metrics.intervals.interval`, amounts that of `amount_interval`. Healthy
    subjects say nothing about overlap and lesions, so shares need as many subjects with a lesion as other metrics need
    subjects, and the F1 of a volume as many with a lesion of that volume. A point of the FROC has none where the maps
    raise about as many alarms in all: the curve bends there, and the jackknife needs it to be smooth.

    Args:
        line: What `scan_replicates` gives, of one or several seeds.
        rows: The row of each seed.
    """
    found = {}
    for name in SHARES:
        why = next((why for row in rows if (why := _too_little(name, row))), "")
        found[name] = Interval(math.nan, math.nan, METHOD, math.nan, why) if why else interval(line, name)
    for name in AMOUNTS:
        found[name] = amount_interval(*line.metric(name), counted=name == "alarms_per_scan")
    return found


def _too_little(name: str, row: RowScans) -> str:
    """Return why the scans of a row allow no interval of a share; empty if they do."""
    if (patients := patients_of(row)) < MIN_SUBJECTS:
        return _few_patients(patients)
    if name.startswith("lesion_f1_"):
        place = BIN_NAMES.index(name.removeprefix("lesion_f1_"))
        count = sum(place in found for found in _volumes_by_subject(row).values())
        if count < MIN_SUBJECTS:
            have = f"{count} test subject{'s have' if count != 1 else ' has'} a lesion of this volume"
            return f"No interval: {have}, and one needs {MIN_SUBJECTS}."
    if name in FROC_NAMES:
        raised, error = _alarms_in_all(row)
        if abs(FALSE_POSITIVES[FROC_NAMES.index(name)] - raised) <= NEAR * error:
            return f"No interval: the maps raise {raised:.3g} false alarms per scan in all: the curve ends near here."
    return ""


def _volumes_by_subject(row: RowScans) -> dict[str, set[int]]:
    """Return the volume bins of each subject's lesions."""
    found: dict[str, set[int]] = {}
    for name, record in zip(row.subjects, row.records, strict=True):
        found.setdefault(name, set()).update(volume_bins(record.lesion_voxels * record.voxel_ml).tolist())
    return found


def _alarms_in_all(row: RowScans) -> tuple[float, float]:
    """Return false alarms per scan at the lowest threshold, and their standard error over subjects (jackknife)."""
    names, owner = np.unique(row.subjects, return_inverse=True)
    alarms = np.bincount(owner, [len(record.alarm_scores) for record in row.records])
    scans = np.bincount(owner)
    raised = float(alarms.sum() / scans.sum())
    if len(names) == 1:
        return raised, math.inf
    left = (alarms.sum() - alarms) / (scans.sum() - scans)
    return raised, float(np.sqrt((len(names) - 1) * np.mean((left - left.mean()) ** 2)))


def _common_threshold(row: RowScans) -> float | None:
    place = float(cohort_numbers(row.records)["dice_common_place"][0])
    return None if math.isnan(place) else row.grid[int(place)]


def _bins(row: RowScans) -> list[dict[str, Any]]:
    """Return lesions, those found, and false alarms by volume; the last two only where there is a threshold."""
    total, found, alarms = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64)
    for record in row.records:
        place = volume_bins(record.lesion_voxels * record.voxel_ml)
        total += np.bincount(place, minlength=4)
        found += np.bincount(place[record.lesion_found], minlength=4)
        alarms += record.alarm_bins
    known = row.records[0].has_threshold
    edges = (0.0, *VOLUME_BINS, None)
    return [
        {
            "low_ml": edges[i], "high_ml": edges[i + 1], "lesions": int(total[i]),
            "found": int(found[i]) if known else None, "alarms": int(alarms[i]) if known else None,
        }
        for i in range(4)
    ]  # fmt: skip


def _reason(name: str, row: RowScans, lesions: int) -> str:
    if (name in _AT_THRESHOLD or name.startswith("lesion_f1_")) and not row.records[0].has_threshold:
        return "No threshold: no validation normal slice can serve this subset."
    if name in LIMITS:
        return "Limits of agreement need two scans."
    if name.startswith("lesion_f1_"):
        return "No lesion and no false alarm has this volume."
    if name == "lesion_precision":
        return "Nothing is flagged."
    if not lesions or not any(record.truth for record in row.records):
        return "No test scan of this row has a lesion."
    if name == "dice_common":
        return "No common threshold: no test slice of this row has a lesion pixel."
    return "Undefined for these scans."
