"""Slow, plain versions of the lesion metrics: one labelling for every threshold, and adversarial volumes.

Written without sharing anything with the package, as a check on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from scipy import ndimage

CUBE = np.ones((3, 3, 3))


@dataclass
class Found:
    """What a walk through all thresholds finds."""

    lesions: list[float] = field(default_factory=list)
    alarms: list[float] = field(default_factory=list)
    contested: bool = False
    knotted: int = 0


def label(mask: np.ndarray) -> list[np.ndarray]:
    """Return one boolean volume for each 26-connected component."""
    labels, count = ndimage.label(mask, structure=CUBE)
    return [labels == number for number in range(1, count + 1)]


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union."""
    return float((first & second).sum() / (first | second).sum())


def best_pairs(table: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of positive entries with the most pairs, then the largest sum; by trying everything."""
    if table.shape[0] > table.shape[1]:
        return [(row, column) for column, row in best_pairs(table.T)]
    best, best_value = [], (0, 0.0)
    for columns in permutations(range(table.shape[1]), table.shape[0]):
        pairs = [(row, column) for row, column in enumerate(columns) if table[row, column] > 0]
        value = (len(pairs), sum(table[pair] for pair in pairs))
        if value > best_value:
            best, best_value = pairs, value
    return best


def assigned(table: np.ndarray) -> list[tuple[int, int]]:
    """Return best pairs of a table of any size, piece by piece, since pieces that share nothing do not matter."""
    rows, columns = np.nonzero(table)
    chosen: list[tuple[int, int]] = []
    left = set(rows.tolist())
    while left:
        piece, reached = {left.pop()}, set()
        while True:
            more_columns = {c for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if r in piece}
            more_rows = {r for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if c in more_columns}
            if more_rows == piece and more_columns == reached:
                break
            piece, reached = more_rows, more_columns
        left -= piece
        here, there = sorted(piece), sorted(reached)
        chosen += [(here[r], there[c]) for r, c in best_pairs(table[np.ix_(here, there)])]
    return chosen


def walk(
    scores: np.ndarray, truth: np.ndarray, brain: np.ndarray, least: float = 0.1, smallest: int = 1, spare: bool = False
) -> Found:
    """Lower a threshold through all scores inside the brain, matching clusters one to one at every step."""
    lesions = label(truth)
    found = Found([float("nan")] * len(lesions))
    for threshold in np.unique(scores[brain])[::-1]:
        clusters = [c for c in label((scores >= threshold) & brain) if c.sum() >= smallest]
        table = np.array([[overlap(lesion, cluster) for cluster in clusters] for lesion in lesions])
        table = np.where(table >= least, table, 0.0).reshape(len(lesions), len(clusters))
        pairs = assigned(table)
        shared = (table > 0).sum(axis=0) > 1
        found.contested |= bool(shared.any())
        found.knotted += bool((table[(table[:, shared] > 0).any(axis=1)] > 0).sum(axis=1).max(initial=0) > 1)
        for row, _ in pairs:
            if np.isnan(found.lesions[row]):
                found.lesions[row] = float(threshold)
        saved = int((table > 0).any(axis=0).sum()) if spare and len(lesions) else len(pairs)
        found.alarms += [float(threshold)] * (len(clusters) - saved - len(found.alarms))
    return found


def walk_dilated(
    scores: np.ndarray, truth: np.ndarray, brain: np.ndarray, dilation: int, dropped_voxels: int, smallest: int
) -> Found:
    """Lower a threshold through all scores inside the brain, matching as BraTS 2023 does."""
    grown = truth.copy()
    for _ in range(dilation):
        grown = ndimage.binary_dilation(grown, structure=ndimage.generate_binary_structure(3, 2))
    regions = label(grown)
    counted = [region for region in regions if (region & truth).sum() > dropped_voxels]
    found = Found([float("nan")] * len(counted))
    for threshold in np.unique(scores[brain])[::-1]:
        clusters = [c for c in label((scores >= threshold) & brain) if c.sum() >= smallest]
        for row, region in enumerate(counted):
            if np.isnan(found.lesions[row]) and any((cluster & region).any() for cluster in clusters):
                found.lesions[row] = float(threshold)
        raised = sum(not any((cluster & region).any() for region in regions) for cluster in clusters)
        found.alarms += [float(threshold)] * (raised - len(found.alarms))
    return found


def volume(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, truth and brain of an adversarial little scan.

    By turns: scattered and dense lesions, touching ones, lesions that one blob covers, blobs that break up over one
    lesion, no lesion, nothing but lesion, one voxel, tied scores, constant scores, brains of several parts.
    """
    rng = np.random.default_rng(number)
    shape = tuple(int(size) for size in rng.integers(1, 8, 3))
    kind = number % 10
    truth = rng.random(shape) < rng.choice([0.05, 0.15, 0.3, 0.5])
    scores = rng.standard_normal(shape)
    if kind in (1, 2):
        truth = ndimage.binary_dilation(truth, iterations=1) & (rng.random(shape) < 0.7)
        scores += 1.5 * ndimage.gaussian_filter(truth.astype(float), 1.0)
    if kind == 3:
        scores = ndimage.gaussian_filter(truth.astype(float), 1.5) + 0.01 * scores
    if kind == 4:
        truth = np.zeros(shape, dtype=bool)
        truth[: max(1, shape[0] - 1), :, : max(1, shape[2] - 1)] = True
    if kind == 5:
        truth = np.zeros(shape, dtype=bool) if number % 20 == 5 else np.ones(shape, dtype=bool)
    if kind == 6:
        truth = np.zeros(shape, dtype=bool)
        truth[tuple(rng.integers(0, size) for size in shape)] = True
    if kind == 7:
        scores = np.round(scores)
    if kind == 8:
        scores = np.zeros(shape) if number % 20 == 8 else np.round(2 * ndimage.gaussian_filter(scores, 1.0), 1)
    brain = rng.random(shape) < rng.choice([0.6, 1.0, 1.0])
    brain |= truth
    brain[0, 0, 0] = True
    return scores.astype(np.float32), truth, brain


def knots(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a thin scan in which several lesions and several clusters often contend for each other."""
    rng = np.random.default_rng(number)
    shape = (1, int(rng.integers(1, 4)), int(rng.integers(12, 30)))
    scores = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 0, 0.6))
    truth = np.broadcast_to(np.convolve(rng.random(shape[2]), np.ones(3), mode="same") > 1.3, shape).copy()
    truth[..., rng.random(shape[2]) < 0.1] = False
    return scores.astype(np.float32), truth, np.ones(shape, dtype=bool)


def froc(founds: list[Found], rate: float) -> float:
    """Return the highest sensitivity of a threshold with at most ``rate`` alarms per scan."""
    best = 0.0
    total = sum(len(found.lesions) for found in founds)
    for threshold in {score for found in founds for score in found.lesions + found.alarms if score == score}:
        if sum(alarm >= threshold for found in founds for alarm in found.alarms) <= rate * len(founds):
            best = max(best, sum(score >= threshold for found in founds for score in found.lesions) / total)
    return best
