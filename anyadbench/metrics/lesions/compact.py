"""False alarms of a cohort, reduced to what its detection curve depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float32

    from anyadbench.metrics.lesions.record import ScanRecord


def found_levels(records: Sequence[ScanRecord]) -> Float32[np.ndarray, " k"]:
    """Return the distinct scores at which some lesion of the cohort is found, falling."""
    scores = np.concatenate([np.empty(0, np.float32), *(record.lesion_scores for record in records)])
    return np.unique(scores[~np.isnan(scores)])[::-1].astype(np.float32)


def snap_alarms(records: Sequence[ScanRecord]) -> list[ScanRecord]:
    """Lower the score of each false alarm to the next score at which a lesion is found; drop those below all of them.

    Average precision and FROC gain only at scores of lesions, and a false alarm counts at such a score if its own is at
    least as high. So `anyadbench.metrics.lesions.cohort_numbers` returns the same, whatever the weights of the scans.
    """
    levels = found_levels(records)
    return [replace(record, alarm_scores=levels[alarm_levels(record.alarm_scores, levels)]) for record in records]


def alarm_levels(scores: Float32[np.ndarray, " a"], levels: Float32[np.ndarray, " k"]) -> np.ndarray:
    """Return the place of the highest level that is not above each score; scores below all levels are left out.

    Args:
        scores: Falling.
        levels: Falling.
    """
    places = len(levels) - np.searchsorted(levels[::-1], scores, side="right")
    return places[places < len(levels)]
