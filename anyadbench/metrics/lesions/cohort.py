"""Every number of a cohort of whole scans, from its records and nothing else.

All functions take weights, one row for each resample: a scan's weight is how often its subject was drawn. A weight of 2
counts a scan as two scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.lesions.volumes import BIN_NAMES, volume_bins

if TYPE_CHECKING:
    from jaxtyping import Float64

    from anyadbench.metrics.lesions.record import ScanRecord

FALSE_POSITIVES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per scan at which the sensitivity is taken."""

FROC_NAMES = ("froc_1_4", "froc_1_2", "froc_1", "froc_2", "froc_4", "froc_8")

LIMITS_OF_AGREEMENT = 1.96
"""Standard deviations on either side of the mean difference (Bland and Altman, Lancet 1986)."""

_BLOCK = 64

Values = dict[str, "Float64[np.ndarray, ' r']"]


def cohort_numbers(records: Sequence[ScanRecord], weights: Float64[np.ndarray, "r s"] | None = None) -> Values:
    """Return every number of a cohort for each row of weights; NaN where one is undefined.

    Args:
        records: One per scan, all of one rule, one curve and the same common thresholds.
        weights: How often each scan counts; by default one row in which each counts once.

    Returns:
        ``dice``, ``dice_best`` and ``dice_common`` with ``dice_common_place`` (see `dice_numbers`); ``volume_bias_ml``,
        ``volume_low_ml`` and ``volume_high_ml`` (`volume_numbers`); ``lesion_ap``, the sensitivities of `FROC_NAMES`
        and their mean ``froc`` (`curve_numbers`); ``lesion_f1``, ``lesion_sensitivity``, ``lesion_precision``,
        ``alarms_per_scan`` and ``lesion_f1_BIN`` (`threshold_numbers`).

    Raises:
        UserError: If there is no record, or records do not belong together, or weights are negative or do not fit.
    """
    if len(records) == 0:
        raise UserError("There is no scan to compute lesion metrics from; score at least one.")
    if len({len(record.grid_predicted) for record in records}) > 1:
        raise UserError("The scans were scored at different common thresholds; score all with one list of thresholds.")
    if len({record.has_threshold for record in records}) > 1:
        raise UserError("Some scans were scored with a threshold and some without; score all of them alike.")
    rows = np.ones((1, len(records))) if weights is None else np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(records) or not (rows >= 0).all():
        raise UserError(f"Weights have shape {rows.shape}; give non-negative ones, resamples x {len(records)} scans.")
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            dice_numbers(records, rows)
            | volume_numbers(records, rows)
            | curve_numbers(records, rows)
            | threshold_numbers(records, rows)
        )


def dice_numbers(records: Sequence[ScanRecord], rows: Float64[np.ndarray, "r s"]) -> Values:
    """Return means of the scans' 3-D Dice, 2 hit / (predicted + truth), over scans with a lesion.

    ``dice`` is at the threshold, ``dice_best`` at each scan's own best threshold, and ``dice_common`` at the common
    threshold with the highest mean, the first of those that share it, whose place among the thresholds is
    ``dice_common_place``. A scan without a lesion has no Dice.
    """
    truth = np.array([record.truth for record in records], dtype=np.float64)
    has_lesion = truth > 0
    kept, truth = rows[:, has_lesion], truth[has_lesion]
    total = kept.sum(axis=1)

    def mean_of(predicted: str, hit: str) -> Float64[np.ndarray, " r"]:
        counts = np.array([[getattr(record, hit), getattr(record, predicted)] for record in records], dtype=np.float64)
        hits, sizes = counts[has_lesion].T
        return kept @ (2 * hits / (sizes + truth)) / total

    missing = np.full(len(rows), np.nan)
    found = {
        "dice": mean_of("predicted", "hit") if records[0].has_threshold else missing,
        "dice_best": mean_of("best_predicted", "best_hit"),
    }
    if len(records[0].grid_predicted) == 0 or not has_lesion.any():
        return found | {"dice_common": missing, "dice_common_place": missing}
    sizes = np.array([record.grid_predicted for record in records], dtype=np.float64)[has_lesion]
    hits = np.array([record.grid_hit for record in records], dtype=np.float64)[has_lesion]
    means = kept @ (2 * hits / (sizes + truth[:, None])) / total[:, None]
    place = means.argmax(axis=1)
    best = means[np.arange(len(rows)), place]
    return found | {"dice_common": best, "dice_common_place": np.where(np.isnan(best), np.nan, place)}


def volume_numbers(records: Sequence[ScanRecord], rows: Float64[np.ndarray, "r s"]) -> Values:
    """Return bias and limits of agreement of the flagged volume at the threshold, in ml.

    The bias is the mean over all scans of flagged minus true volume, the limits are 1.96 standard deviations (of n - 1
    degrees of freedom) below and above it.
    """
    names = ("volume_bias_ml", "volume_low_ml", "volume_high_ml")
    if not records[0].has_threshold:
        return {name: np.full(len(rows), np.nan) for name in names}
    difference = np.array([(record.predicted - record.truth) * record.voxel_ml for record in records])
    total = rows.sum(axis=1)
    bias = rows @ difference / total
    squares = (rows * (difference - bias[:, None]) ** 2).sum(axis=1)
    spread = LIMITS_OF_AGREEMENT * np.sqrt(np.where(total > 1, squares / (total - 1), np.nan))
    return dict(zip(names, (bias, bias - spread, bias + spread), strict=True))


def curve_numbers(records: Sequence[ScanRecord], rows: Float64[np.ndarray, "r s"]) -> Values:
    """Return lesion-level average precision and the sensitivities at given false alarms per scan.

    At a threshold t the cohort has found the lesions with a score of at least t and raised the alarms with a score of
    at least t; the thresholds are all scores that occur. Average precision is the sum over thresholds of precision
    times gain in sensitivity; lesions that are never found add nothing. The sensitivity at x alarms per scan is that of
    the lowest threshold with at most x, and 0 if there is none. All are NaN without a lesion.
    """
    owner, score, is_lesion = _items(records)
    lesions = rows @ np.array([len(record.lesion_scores) for record in records], dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    owner, score, is_lesion = owner[order], score[order], is_lesion[order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)[: len(score)])
    values: Values = {name: np.full(len(rows), np.nan) for name in ("lesion_ap", *FROC_NAMES, "froc")}
    for block in _blocks(len(rows)):
        drawn = rows[block][:, owner]
        found = np.cumsum(drawn * is_lesion, axis=1)[:, ends]
        alarms = np.cumsum(drawn * ~is_lesion, axis=1)[:, ends]
        some = lesions[block]
        gain = np.diff(found, axis=1, prepend=0.0) / some[:, None]
        flagged = found + alarms
        precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
        values["lesion_ap"][block] = np.where(some > 0, (gain * precision).sum(axis=1), np.nan)
        allowed = rows[block].sum(axis=1)
        padded = np.concatenate([np.zeros((len(found), 1)), found], axis=1)
        for name, limit in zip(FROC_NAMES, FALSE_POSITIVES, strict=True):
            last = (alarms <= limit * allowed[:, None] + 1e-9).sum(axis=1)
            values[name][block] = padded[np.arange(len(found)), last] / some
    values["froc"] = np.mean([values[name] for name in FROC_NAMES], axis=0)
    return values


def threshold_numbers(records: Sequence[ScanRecord], rows: Float64[np.ndarray, "r s"]) -> Values:
    """Return what is found and raised at the threshold, lesions and alarms pooled over scans.

    ``lesion_f1`` is 2 found / (2 found + missed + alarms). In a volume bin, lesions are binned by their true volume and
    alarms by their own; the F1 of a bin without either is NaN.
    """
    names = ("lesion_f1", "lesion_sensitivity", "lesion_precision", "alarms_per_scan")
    in_bins = tuple(f"lesion_f1_{name}" for name in BIN_NAMES)
    if not records[0].has_threshold:
        return {name: np.full(len(rows), np.nan) for name in (*names, *in_bins)}
    found, total = np.zeros((len(records), 4)), np.zeros((len(records), 4))
    for number, record in enumerate(records):
        bins = volume_bins(record.lesion_voxels * record.voxel_ml)
        total[number] = np.bincount(bins, minlength=4)
        found[number] = np.bincount(bins[record.lesion_found], minlength=4)
    alarms = np.array([record.alarm_bins for record in records], dtype=np.float64)
    hits, lesions, raised = rows @ found, rows @ total, rows @ alarms
    values = dict(zip(in_bins, (2 * hits / (hits + lesions + raised)).T, strict=True))
    hits, lesions, raised = hits.sum(axis=1), lesions.sum(axis=1), raised.sum(axis=1)
    pooled = (2 * hits / (hits + lesions + raised), hits / lesions, hits / (hits + raised), raised / rows.sum(axis=1))
    return dict(zip(names, pooled, strict=True)) | values


def _items(records: Sequence[ScanRecord]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scan, score and kind of every lesion that is ever found and of every false alarm."""
    owners, scores, kinds = [], [], []
    for number, record in enumerate(records):
        found = record.lesion_scores[~np.isnan(record.lesion_scores)]
        owners.append(np.full(len(found) + len(record.alarm_scores), number))
        scores.append(np.concatenate([found, record.alarm_scores]).astype(np.float64))
        kinds.append(np.arange(len(owners[-1])) < len(found))
    return np.concatenate(owners), np.concatenate(scores), np.concatenate(kinds)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))
