"""Whole scans: 3-D Dice, volumes, lesions found and false alarms, from one pass over the scores of a scan.

`score_scan` reduces one scan to a `ScanRecord` of a few kilobytes, and `cohort_numbers` computes every number of a
cohort from such records, with weights, so that subjects can be resampled. Needs numpy and scipy, and no torch.
"""

from __future__ import annotations

from anyadbench.metrics.core.aupimo import FPR_BOUNDS, aupimo
from anyadbench.metrics.lesions.cohort import FALSE_POSITIVES, cohort_numbers
from anyadbench.metrics.lesions.record import ScanRecord, score_scan
from anyadbench.metrics.lesions.rules import DilationRule, OverlapRule, Rule
from anyadbench.metrics.lesions.scan import Scan, read_scan
from anyadbench.metrics.lesions.volumes import VOLUME_BINS

__all__ = [
    "FALSE_POSITIVES",
    "FPR_BOUNDS",
    "VOLUME_BINS",
    "DilationRule",
    "OverlapRule",
    "Rule",
    "Scan",
    "ScanRecord",
    "aupimo",
    "cohort_numbers",
    "read_scan",
    "score_scan",
]
