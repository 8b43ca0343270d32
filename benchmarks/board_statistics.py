"""How long the statistics of a board of 500 cells take, from the values without a subject that its cells store.

``python benchmarks/board_statistics.py`` makes 100 methods of five seeds on seven subsets (57 subjects, eight metrics),
and times intervals of every number and of every mean, all pairs on every subset and on the mean, groups and ranks. It
also times the jackknife of one row from its pixel and slice statistics, next to 1000 resamples of its subjects.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from anyadbench.metrics import METRICS
from anyadbench.metrics.core.cohort import Cohort
from anyadbench.metrics.intervals.groups import rank_intervals, tie_groups
from anyadbench.metrics.intervals.interval import intervals
from anyadbench.metrics.intervals.jackknife import JACKKNIFED, Replicates, jackknife_values, mean_of
from anyadbench.metrics.intervals.pairs import all_pairs
from anyadbench.metrics.intervals.resample import resample

SUBSETS = 7


def make_lines(methods: int, seeds: int, subjects: int) -> list[list[Replicates]]:
    """Return one line per method and subset: metrics that are means over subjects of random values."""
    rng = np.random.default_rng(0)
    names, count = tuple(f"{number:03d}" for number in range(subjects)), len(JACKKNIFED)
    common = rng.normal(0, 0.1, (subjects, count))
    board = []
    for _ in range(methods):
        level, row = rng.uniform(0.3, 0.7), []
        for _ in range(SUBSETS):
            values = level + common + rng.normal(0, 0.1, (seeds, subjects, count))
            point = values.mean(axis=1)
            row.append(Replicates(names, JACKKNIFED, point, (point[:, None] * subjects - values) / (subjects - 1)))
        board.append(row)
    return board


def board_statistics(board: list[list[Replicates]]) -> dict[str, float]:
    """Return the processor seconds of each part."""
    seconds, begin = {}, time.process_time()

    def done(name: str) -> None:
        nonlocal begin
        seconds[name] = time.process_time() - begin
        begin = time.process_time()

    means = [mean_of(row) for row in board]
    done("means over subsets")
    for row, mean in zip(board, means, strict=True):
        for line in (*row, mean):
            intervals(line)
    done("intervals")
    for metric in METRICS:
        for lines in (*zip(*board, strict=True), means):
            found = all_pairs(list(lines), metric)
            tie_groups(found.point, found.beats)
            rank_intervals(found.beats)
    done("pairs, groups and ranks")
    return seconds


def row_seconds(subjects: int, groups: int) -> tuple[float, float]:
    """Return the processor seconds of the jackknife and of the bootstrap of one row."""
    rng = np.random.default_rng(0)
    shape = (subjects, groups)
    lesions, weights = rng.integers(0, 5, shape), rng.integers(0, 1 << 20, shape)
    cohort = Cohort(rng.integers(0, 900, (subjects, groups + 1)), rng.integers(0, 5, shape), lesions, weights)
    images = [(rng.standard_normal(20), np.arange(20) % 2 == 0) for _ in range(subjects)]
    points = dict.fromkeys(JACKKNIFED, 0.5)
    begin = time.process_time()
    jackknife_values(cohort, images, points)
    middle = time.process_time()
    resample(cohort, images, rng.multinomial(subjects, np.full(subjects, 1 / subjects), 1000).astype(np.float64))
    return middle - begin, time.process_time() - middle


def main() -> None:
    """Print the processor seconds, which other load on the machine does not change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--subjects", type=int, default=57)
    arguments = parser.parse_args()
    seconds = board_statistics(make_lines(arguments.methods, arguments.seeds, arguments.subjects))
    print(f"{arguments.methods * arguments.seeds} cells, {arguments.subjects} subjects, {len(METRICS)} metrics:")
    for name, value in seconds.items():
        print(f"  {name}: {value:.2f} s")
    print(f"  together: {sum(seconds.values()):.2f} s")
    jackknife, bootstrap = row_seconds(arguments.subjects, 1024)
    print(f"one row from its statistics: jackknife {jackknife * 1e3:.0f} ms, 1000 resamples {bootstrap * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
