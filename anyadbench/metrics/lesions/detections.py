"""What a scan contributes to a detection curve: a score for each lesion and for each false alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.metrics.lesions.matching import Clusters, peak_scores
from anyadbench.metrics.lesions.rules import OverlapRule, Rule
from anyadbench.metrics.lesions.sweep import sweep_overlaps
from anyadbench.metrics.lesions.touching import sweep_touching
from anyadbench.metrics.lesions.tree import component_tree

if TYPE_CHECKING:
    from jaxtyping import Float32

    from anyadbench.metrics.lesions.ranking import Ranking
    from anyadbench.metrics.lesions.scan import Scan
    from anyadbench.metrics.lesions.targets import Targets

MOST_ALARMS = 1000
"""False alarms of one scan beyond this many do not count; no curve that anyone reports gets there."""


@dataclass(frozen=True)
class Detections:
    """Scores of one scan's lesions and false alarms.

    Attributes:
        lesions: For each counted lesion, the score at which it is found; NaN if never.
        alarms: Scores of the false alarms, falling; at most `MOST_ALARMS`.
    """

    lesions: Float32[np.ndarray, " l"]
    alarms: Float32[np.ndarray, " a"]


def swept_detections(scan: Scan, ranking: Ranking, targets: Targets, rule: Rule) -> Detections:
    """Return the scores at which lesions are found and false alarms raised as a threshold falls through the whole scan.

    At every threshold t, a score that occurs, the clusters of {score >= t} are matched with the lesions by the rule. A
    lesion's score is the highest threshold at which it is found. The score of the k-th false alarm is the highest
    threshold at which the scan has at least k false alarms at once. So at a threshold the curve counts the lesions
    found there or at a higher one, against the most simultaneous false alarms there or at a higher one: both
    only rise as the threshold falls, no score of a candidate has to be made up, and any strictly increasing change of
    the scores leaves the curve as it is.

    Raises:
        UserError: For a greedy overlap rule, which is defined at one threshold only.
    """
    tree = component_tree(ranking, scan.brain.shape)
    smallest = scan.smallest_voxels(rule.smallest_ml)
    if isinstance(rule, OverlapRule):
        found, alarms = sweep_overlaps(tree, targets, rule, smallest)
    else:
        found, alarms = sweep_touching(tree, targets, smallest)
    most = np.maximum.accumulate(alarms)
    raised = np.searchsorted(most, np.arange(1, min(int(most[-1]), MOST_ALARMS) + 1), side="left")
    scores = np.full(len(found), np.nan, dtype=np.float32)
    seen = found < len(ranking.level_keys)
    scores[seen] = ranking.scores_of(found[seen])
    return Detections(scores[targets.counted], ranking.scores_of(raised))


def peak_detections(clusters: Clusters, targets: Targets) -> Detections:
    """Return the detections of one mask, each cluster with its highest score, as ``picai_eval`` reads a detection map.

    Lesions whose cluster the mask does not hold are never found, however low the curve's threshold falls.
    """
    peaks = peak_scores(clusters).astype(np.float32)
    lesions = np.full(len(clusters.cluster_of), np.nan, dtype=np.float32)
    lesions[clusters.found] = peaks[clusters.cluster_of[clusters.found]]
    alarms = np.sort(peaks[clusters.alarm])[::-1][:MOST_ALARMS]
    return Detections(lesions[targets.counted], alarms)
