"""Time the lesion metrics of a whole scan at all thresholds, against one labelling for each of 50 thresholds.

Run ``python benchmarks/lesions.py``. The scan has 240 x 240 x 155 voxels, 1.4 million of them brain, and 60 lesions;
its scores are noise of a given smoothness plus bumps at the lesions. Seconds are processor seconds of one thread, which
a busy machine disturbs less than wall seconds; the fastest of ``--repeat`` runs counts. The labellings cover only the
bounding box of the brain, and nothing is matched in them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage

from anyadbench.metrics.lesions import DilationRule, OverlapRule, Rule, ScanRecord, cohort_numbers, score_scan

SHAPE = (155, 240, 240)
SMOOTHNESS = {"smooth (sigma 6)": 6.0, "medium (sigma 3)": 3.0, "rough (sigma 1)": 1.0, "white noise": 0.0}
LESIONS = 60
LABELLINGS = 50


def make_scan(sigma: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, lesion mask and brain mask."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in SHAPE), indexing="ij", sparse=True)
    brain = sum((axis / width) ** 2 for axis, width in zip(axes, (0.84, 0.68, 0.54), strict=True)) < 1
    scores = rng.standard_normal(SHAPE, dtype=np.float32)
    scores = ndimage.gaussian_filter(scores, sigma) if sigma else scores
    scores /= scores.std()
    truth = np.zeros(SHAPE, dtype=bool)
    places = np.argwhere(brain)
    for _ in range(LESIONS):
        centre, radius = places[rng.integers(len(places))], int(rng.choice([2, 3, 4, 6, 12]))
        window = tuple(
            slice(max(0, c - 4 * radius), min(size, c + 4 * radius + 1))
            for c, size in zip(centre.tolist(), SHAPE, strict=True)
        )
        grid = np.ogrid[window]
        squared = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True))
        truth[window] |= (squared < radius**2) & brain[window]
        scores[window] += rng.uniform(0, 4) * np.exp(-squared / (2 * radius**2)).astype(np.float32)
    return scores, truth, brain


def fastest(function: Callable[[], object], repeat: int) -> float:
    """Return the fewest processor seconds of several runs."""
    seconds = []
    for _ in range(repeat):
        begin = time.process_time()
        function()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def label_thresholds(scores: np.ndarray, brain: np.ndarray) -> None:
    """Label the bounding box of the brain at evenly spread quantiles of its scores."""
    spans = [np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    window = tuple(slice(span[0], span[-1] + 1) for span in spans)
    box, inside = scores[window], brain[window]
    for threshold in np.quantile(scores[brain], np.linspace(0, 0.9999, LABELLINGS)):
        ndimage.label((box >= threshold) & inside, structure=np.ones((3, 3, 3)))


def bootstrap(record: ScanRecord, scans: int = 57, resamples: int = 1000) -> float:
    """Return the seconds of all numbers of a cohort and its resamples."""
    draws = np.random.default_rng(0).multinomial(scans, np.full(scans, 1 / scans), size=resamples).astype(np.float64)
    return fastest(lambda: cohort_numbers([record] * scans, draws), 1)


def main() -> None:
    """Read the options, time every smoothness and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the fastest counts")
    arguments = parser.parse_args()
    print(f"{'scores':18s}{'all thresholds':>16s}{'BraTS rule':>12s}{'labellings':>12s}{'ratio':>7s}{'bytes':>8s}")
    for name, sigma in SMOOTHNESS.items():
        record = print_row(name, sigma, arguments.repeat)
    print(f"57 scans of the last kind, 1000 resamples of every number: {bootstrap(record):.1f} s")


def print_row(name: str, sigma: float, repeat: int) -> ScanRecord:
    """Time one smoothness, print its row and return the record."""
    scores, truth, brain = make_scan(sigma)
    threshold, grid = float(np.quantile(scores[brain], 0.99)), np.quantile(scores[brain], np.linspace(0.5, 1, 256))

    def score(rule: Rule) -> ScanRecord:
        return score_scan(scores, truth, brain, (1, 1, 1), threshold=threshold, grid=grid, rule=rule)

    record = score(OverlapRule())
    ours = fastest(lambda: score(OverlapRule()), repeat)
    brats = fastest(lambda: score(DilationRule()), repeat)
    labelled = fastest(lambda: label_thresholds(scores, brain), 1)
    size = sum(array.nbytes for array in record.to_arrays().values())
    print(f"{name:18s}{ours:14.2f} s{brats:10.2f} s{labelled:10.2f} s{labelled / ours:7.1f}{size:8d}", flush=True)
    return record


if __name__ == "__main__":
    main()
