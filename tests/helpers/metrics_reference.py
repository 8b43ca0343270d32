"""Slow, plain versions of the pixel and image metrics: one pass over the data for every distinct score.

Written independently of the package, to check it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LIMIT = 0.3


def ranking_points(scores: np.ndarray, truth: np.ndarray) -> tuple[list[int], list[int]]:
    """Return false and true positives at every distinct score, from the highest down, as plain counts."""
    false_positives, true_positives = [], []
    for threshold in sorted({float(score) for score in scores.ravel()}, reverse=True):
        flagged = scores.astype(np.float64) >= threshold
        false_positives.append(int((flagged & ~truth).sum()))
        true_positives.append(int((flagged & truth).sum()))
    return false_positives, true_positives


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve by trapezoids."""
    false_positives, true_positives = ranking_points(scores, truth)
    fpr = [0.0] + [count / int((~truth).sum()) for count in false_positives]
    tpr = [0.0] + [count / int(truth.sum()) for count in true_positives]
    return float(np.trapezoid(tpr, fpr))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum of precision times gain in recall."""
    value, before = 0.0, 0
    for fp, tp in zip(*ranking_points(scores, truth), strict=True):
        value += (tp - before) / int(truth.sum()) * tp / (tp + fp)
        before = tp
    return value


def f1_max(scores: np.ndarray, truth: np.ndarray) -> float:
    """Highest F1 over all thresholds."""
    lesions = int(truth.sum())
    return max(2 * tp / (tp + fp + lesions) for fp, tp in zip(*ranking_points(scores, truth), strict=True))


def dice_max(maps: np.ndarray, masks: np.ndarray) -> float:
    """Highest pooled Dice of a thresholded map and the mask, from its definition by overlap."""
    best = 0.0
    for threshold in np.unique(maps.astype(np.float64)):
        flagged = maps.astype(np.float64) >= threshold
        best = max(best, 2.0 * float((flagged & masks).sum()) / float(flagged.sum() + masks.sum()))
    return best


def regions(masks: np.ndarray) -> list[np.ndarray]:
    """Return one boolean stack per 8-connected component."""
    found = []
    for number, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for label in range(1, count + 1):
            region = np.zeros(masks.shape, dtype=bool)
            region[number] = labels == label
            found.append(region)
    return found


def aupro(maps: np.ndarray, masks: np.ndarray) -> float:
    """MVTec's rule at every distinct score: mean overlap per region against FPR, interpolated at the limit."""
    parts, normals = regions(masks), int((~masks).sum())
    fpr, pro = [0.0], [0.0]
    for threshold in sorted({float(score) for score in maps.ravel()}, reverse=True):
        flagged = maps.astype(np.float64) >= threshold
        fpr.append(int((flagged & ~masks).sum()) / normals)
        pro.append(float(np.mean([(flagged & part).sum() / part.sum() for part in parts])))
    area = 0.0
    for x0, x1, y0, y1 in zip(fpr, fpr[1:], pro, pro[1:], strict=False):
        if x0 < LIMIT and x1 > x0:
            end = min(x1, LIMIT)
            height = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + height) / 2
    return area / LIMIT


def pixel_metrics(maps: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Return all pixel metrics."""
    return {
        "pixel_auroc": auroc(maps, masks),
        "pixel_ap": average_precision(maps, masks),
        "pixel_f1": f1_max(maps, masks),
        "aupro": aupro(maps, masks),
        "dice": dice_max(maps, masks),
    }


def cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return small maps and masks that are hard for metric code; all have lesion and normal pixels."""
    rng = np.random.default_rng(5)
    shape = (5, 14, 13)
    masks = np.zeros(shape, dtype=bool)
    masks[0, 0:3, 0:4] = True  # at the corner of the field
    masks[0, 3, 4] = True  # touches it only at a corner: one 8-connected component
    masks[0, 13, 12] = True  # one pixel, at the border
    masks[2, 5:11, 2:9] = True
    masks[2, 1, 6] = True
    masks[4, 13, 0:13] = True
    maps = rng.normal(size=shape).astype(np.float32)
    maps[masks] += np.float32(0.7)
    outlier = np.abs(maps)
    outlier[1, 3, 3] = 1e6
    zeros = np.where(rng.random(shape) < 0.5, np.float32(-0.0), np.float32(0.0)).astype(np.float32)
    tiny = (rng.integers(-4, 5, size=shape) + 2 * masks).astype(np.int32)
    subnormal = (np.abs(tiny) | np.where(tiny < 0, -(2**31), 0)).astype(np.int32).view(np.float32)
    one_pixel = np.zeros(shape, dtype=bool)
    one_pixel[3, 7, 7] = True
    nearly_all = np.ones(shape, dtype=bool)
    nearly_all[1, 0, :5] = False
    return {
        "plain": (maps, masks),
        "negative": (-np.exp(-maps), masks),
        "ties": (np.round(maps), masks),
        "two values": ((maps > 0).astype(np.float32), masks),
        "constant": (np.full(shape, 0.25, dtype=np.float32), masks),
        "outlier": (outlier, masks),
        "signed zeros": (zeros + np.where(masks, 0, 0).astype(np.float32), masks),
        "signed zeros and more": (np.where(rng.random(shape) < 0.5, zeros, maps), masks),
        "subnormal": (subnormal, masks),
        "one pixel": (maps, one_pixel),
        "nearly all lesion": (maps, nearly_all),
        "perfect": (masks.astype(np.float32) + np.float32(0.1) * rng.random(shape, dtype=np.float32), masks),
        "inverted": (-masks.astype(np.float32), masks),
        "huge": (maps * np.float32(1e37), masks),
    }
