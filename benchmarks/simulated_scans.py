"""Whole scans drawn from a model whose population values are known, as records: no volume is ever made.

A subject has lesions of log-normal volume and random effects on the scores of its lesions and on the number of its
false alarms; some subjects are healthy. A lesion is covered more the further its score lies above a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from anyadbench.metrics.lesions import ScanRecord
from anyadbench.metrics.lesions.cohort import cohort_numbers
from anyadbench.metrics.lesions.volumes import volume_bins
from anyadbench.metrics.scans.scan_numbers import AMOUNTS, SHARES, scan_intervals, scan_replicates
from anyadbench.metrics.scans.whole_scans import RowScans

VOXEL_ML = 0.004
GRID = tuple(np.linspace(4.0, -2.0, 31).tolist())
THRESHOLD = 1.0
SCAN_METRICS = (*SHARES, *AMOUNTS)


@dataclass(frozen=True)
class ScanSetting:
    """A generative setting.

    Attributes:
        lesions: Mean number of lesions of a patient.
        volume: Median volume of a lesion in ml.
        volume_sd: SD of the logarithm of a lesion's volume.
        contrast: Mean score of a lesion of the median volume.
        subject_sd: SD over subjects of the scores of their lesions.
        alarms: Mean number of false alarms of a scan over all thresholds.
        healthy: Share of subjects without a lesion.
    """

    name: str
    lesions: float
    volume: float
    volume_sd: float
    contrast: float
    subject_sd: float
    alarms: float
    healthy: float


SCAN_SETTINGS = (
    ScanSetting("one large lesion", 1.3, 20.0, 0.9, 2.5, 0.8, 4.0, 0.0),
    ScanSetting("many small lesions", 8.0, 0.4, 1.2, 1.5, 0.7, 12.0, 0.1),
    ScanSetting("weak method", 3.0, 3.0, 1.3, 0.8, 0.9, 8.0, 0.2),
)


def draw_scan(rng: np.random.Generator, setting: ScanSetting, patient: bool) -> ScanRecord:
    """Draw one scan."""
    count = 1 + rng.poisson(setting.lesions - 1) if patient else 0
    volumes = setting.volume * np.exp(setting.volume_sd * rng.standard_normal(count))
    voxels = np.maximum(np.rint(volumes / VOXEL_ML), 1).astype(np.int64)
    scores = setting.contrast + setting.subject_sd * rng.standard_normal() + 0.6 * rng.standard_normal(count)
    scores = scores + 0.3 * np.log(voxels * VOXEL_ML / setting.volume)
    raised = rng.poisson(setting.alarms * np.exp(0.7 * rng.standard_normal() - 0.245))
    alarms = np.sort(0.7 * rng.standard_normal(raised) + 0.3 * rng.standard_normal())[::-1]
    sizes = np.maximum(np.rint(0.3 * np.exp(1.1 * rng.standard_normal(raised)) / VOXEL_ML), 1).astype(np.int64)
    grid = np.array((*GRID, THRESHOLD))[:, None]
    hit = np.rint((voxels / (1 + np.exp(-2 * (scores - grid)))).sum(axis=1)).astype(np.int64)
    predicted = hit + (sizes * (alarms > grid)).sum(axis=1) + np.rint(0.15 * hit).astype(np.int64)
    truth = int(voxels.sum())
    place = int((2 * hit / np.maximum(predicted + truth, 1)).argmax())
    return ScanRecord(
        voxel_ml=VOXEL_ML, truth=truth, predicted=int(predicted[-1]), hit=int(hit[-1]),
        best_predicted=int(predicted[place]), best_hit=int(hit[place]), grid_predicted=predicted[:-1],
        grid_hit=hit[:-1], lesion_voxels=voxels,
        lesion_scores=np.where(rng.random(count) < 0.05, np.nan, scores).astype(np.float32),
        lesion_found=scores > THRESHOLD, alarm_scores=alarms.astype(np.float32),
        alarm_bins=np.bincount(volume_bins(sizes[alarms > THRESHOLD] * VOXEL_ML), minlength=4),
    )  # fmt: skip


def draw_cohort(rng: np.random.Generator, setting: ScanSetting, n: int) -> RowScans:
    """Draw the scans of a cohort, one for each subject; the first is a patient."""
    patients = (rng.random(n) >= setting.healthy) | (np.arange(n) < 1)
    records = tuple(draw_scan(rng, setting, bool(patient)) for patient in patients)
    names = tuple(f"s{number:05d}" for number in range(n))
    return RowScans("test", "F", "overlap", THRESHOLD, GRID, names, names, records)


@cache
def scan_truth(setting: ScanSetting, subjects: int = 20_000) -> dict[str, float]:
    """Return the population's values, from many simulated subjects pooled."""
    row = draw_cohort(np.random.default_rng(99), setting, subjects)
    return {name: float(values[0]) for name, values in cohort_numbers(row.records).items()}


def scan_coverage(setting: ScanSetting, n: int, simulations: int) -> dict[str, tuple[float, float]]:
    """Return, for each number of whole scans, how often its interval holds the truth, and how often there is none."""
    rng, true = np.random.default_rng(n), scan_truth(setting)
    held: dict[str, list[bool]] = {name: [] for name in SCAN_METRICS}
    for _ in range(simulations):
        row = draw_cohort(rng, setting, n)
        for name, one in scan_intervals(scan_replicates(row), [row]).items():
            if not one.reason:
                held[name].append(one.low <= true[name] <= one.high)
    return {
        name: (float(np.mean(found)) if found else float("nan"), 1 - len(found) / simulations)
        for name, found in held.items()
    }
