"""Type-I error, family-wise error and power of the paired tests of a board, by simulation.

``python benchmarks/error_rates.py`` prints six tables: single comparisons of two equally good methods, with Holm's
correction over seven subsets and their mean; methods of different spread with the same true value; boards of 100
methods that are all equal, next to two rejected procedures; boards of methods that are as good as the control; seeds;
and the power by the true gap in standard errors of the paired difference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import stats
from simulated_cohorts import (
    FURTHER,
    METRICS,
    OFFSETS,
    SETTINGS,
    Counts,
    Setting,
    Subjects,
    Values,
    draw_lines,
    draw_scores,
    draw_subjects,
    leave_one_out,
    truth,
    values_of,
    with_contrast,
)

from anyadbench.metrics.intervals.groups import tie_groups
from anyadbench.metrics.intervals.jackknife import Replicates
from anyadbench.metrics.intervals.paired import compared, family_p, step_down
from anyadbench.metrics.intervals.pairs import all_pairs
from anyadbench.metrics.intervals.scales import ARCSINE, influences

ALPHA = 0.05
SHARED = 0.4
"""Share of the variance of subject effects that methods have in common."""

BLOCK = 25


def _metrics(counts: Counts) -> tuple[Values, Values]:
    return values_of(counts.pooled()), leave_one_out(counts)


def replicates(counts: Counts) -> list[Replicates]:
    """Return the line of each item of the first axis."""
    values, left = _metrics(counts)
    point = np.stack([values[name] for name in METRICS], axis=-1)
    jack = np.stack([left[name] for name in METRICS], axis=-1)
    names = tuple(f"{number:04d}" for number in range(jack.shape[1]))
    return [Replicates(names, METRICS, point[i : i + 1], jack[i : i + 1]) for i in range(len(point))]


def p_values(ours: tuple[np.ndarray, np.ndarray], theirs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the p-values of comparisons, one per trial; the first axis of values counts seeds."""
    gap, _, total, df = compared(*ours, *theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2.0 * stats.t.sf(np.abs(gap) / np.sqrt(total), df))


def values_and_left_out(counts: list[Counts], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a metric, and its values without each subject, of each item of the list."""
    found = [_metrics(item) for item in counts]
    return np.stack([pair[0][metric] for pair in found]), np.stack([pair[1][metric] for pair in found])


def equal_value(setting: Setting, metric: str) -> Setting:
    """Return a method of other spread with the same true value of a metric: its contrast is found by bisection."""
    other = replace(setting, lesion_sd=1.5 * setting.lesion_sd, bright_sd=0.5 * setting.bright_sd)
    wanted, low, high = truth(setting)[metric], setting.contrast - 3.0, setting.contrast + 4.0
    for _ in range(10):
        middle = (low + high) / 2
        low, high = (middle, high) if truth(with_contrast(other, middle))[metric] < wanted else (low, middle)
    return with_contrast(other, (low + high) / 2)


def single_rates(first: Setting, second: Setting, n: int, simulations: int, seed: int) -> dict[str, list[float]]:
    """Return, by metric, the rejection rates for one subset, for the mean, and for any of all eight after Holm."""
    rng, found = np.random.default_rng([n, seed]), {name: [] for name in METRICS}  # type: ignore[var-annotated]
    for _ in range(0, simulations, BLOCK):
        subjects = draw_subjects(rng, first, BLOCK, n)
        sides = [
            [
                (values_of(line.pooled()), leave_one_out(line))
                for line in draw_lines(rng, setting, subjects, OFFSETS, shared=SHARED)
            ]
            for setting in (first, second)
        ]
        for name in METRICS:
            ours, theirs = ([np.stack([pair[k][name] for pair in side]) for k in (0, 1)] for side in sides)
            ours, theirs = (
                [np.concatenate([part, part.mean(axis=0, keepdims=True)]) for part in side] for side in (ours, theirs)
            )
            p = p_values((ours[0][None], ours[1][None]), (theirs[0][None], theirs[1][None]))
            adjusted = np.apply_along_axis(step_down, 0, p)
            found[name] += zip(p[0] <= ALPHA, p[-1] <= ALPHA, (adjusted <= ALPHA).any(axis=0), strict=True)
    return {name: list(np.mean(rows, axis=0)) for name, rows in found.items()}


def single_table(sizes: list[int], simulations: int) -> None:
    """Print the error of single comparisons and of families of seven subsets and their mean."""
    print("\nTwo equally good methods: p at most .05 for one subset / for the mean of 7 / any of the 8 after Holm\n")
    print("| N, setting | " + " | ".join(METRICS) + " |\n" + "|---" * (len(METRICS) + 1) + "|")
    for n in sizes:
        for number, setting in enumerate((*SETTINGS, *FURTHER)):
            rates = single_rates(setting, setting, n, simulations, number)
            cells = [" / ".join(f"{rate:.3f}" for rate in rates[name]) for name in METRICS]
            print(f"| {n}, {setting.name} | " + " | ".join(cells) + " |", flush=True)


def unequal_table(sizes: list[int], simulations: int) -> None:
    """Print the error for methods of different spread with the same true value."""
    wanted = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
    print("\nMethods of different spread, same true value, one subset\n")
    print("| N, setting | " + " | ".join(wanted) + " |\n" + "|---" * (len(wanted) + 1) + "|")
    for setting in (*SETTINGS, *FURTHER):
        others = {name: equal_value(setting, name) for name in wanted}
        for n in sizes:
            cells = []
            for name, other in others.items():
                rng, hits = np.random.default_rng(n), []
                for _ in range(0, simulations, 50):
                    subjects = draw_subjects(rng, setting, 50, n)
                    sides = [[draw_scores(rng, kind, subjects, SHARED)] for kind in (setting, other)]
                    p = p_values(*(values_and_left_out(side, name) for side in sides))
                    hits += list(p <= ALPHA)
                cells.append(f"{np.mean(hits):.3f}")
            print(f"| {n}, {setting.name} | " + " | ".join(cells) + " |", flush=True)


def board(rng: np.random.Generator, setting: Setting, n: int, contrasts: np.ndarray) -> list[Replicates]:
    """Return the lines of many methods on one cohort."""
    one, count = draw_subjects(rng, setting, 1, n), len(contrasts)
    parts = (np.repeat(part, count, axis=0) for part in (one.area, one.size, one.effects, one.slices))
    scores = draw_scores(rng, setting, Subjects(*parts), SHARED, shift=contrasts - setting.contrast)
    return replicates(scores)


def flip_maximum(lines: list[Replicates], metric: str, draws: int = 200) -> float:
    """Return the p-value of the largest difference by max-T of sign flips (Westfall and Young 1993)."""
    point, jack = (
        np.stack(parts) for parts in zip(*((p[0], j[0]) for p, j in (x.metric(metric) for x in lines)), strict=True)
    )
    n = jack.shape[1]
    shares = ARCSINE.forward(point)[:, None] / n + influences(point, jack, ARCSINE)
    flips = np.random.default_rng(0).choice([-1.0, 1.0], size=(draws, n))
    flips[0] = 1.0
    first, second = np.triu_indices(len(lines), 1)
    gram = shares @ shares.T
    squares = np.diag(gram)[first] + np.diag(gram)[second] - 2 * gram[first, second]
    scale = np.where(squares > 0, 1.0 / np.sqrt(np.maximum(squares, 1e-300)), 0.0)
    drawn = (flips @ shares.T).T
    largest = (np.abs(drawn[first] - drawn[second]) * scale[:, None]).max(axis=0)
    return float((largest >= largest[0] * (1 - 1e-12)).mean())


def board_table(sizes: list[int], boards: int, methods: int) -> None:
    """Print the family-wise error of boards of equal methods, and of ten clusters of equal ones."""
    wanted = ("image_auroc", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1", "aupro")
    print(
        f"\nBoards of {methods} methods, {boards} each: any false difference if all are equal / if they are 10 clusters"
    )
    print("of equals / if only the leader is tested, with Holm for the others / by max-T of sign flips\n")
    print("| N, setting | " + " | ".join(wanted) + " |\n" + "|---" * (len(wanted) + 1) + "|")
    for n in sizes:
        for setting in (*SETTINGS, *FURTHER):
            rng, hits = np.random.default_rng([n, 3]), {name: [] for name in wanted}  # type: ignore[var-annotated]
            steps = np.repeat(np.linspace(-1.5, 1.5, 10), methods // 10)
            same = steps[:, None] == steps[None, :]
            for _ in range(boards):
                lines = board(rng, setting, n, np.full(methods, setting.contrast))
                mixed = board(rng, setting, n, setting.contrast + steps)
                for name in wanted:
                    table = all_pairs(lines, name)
                    leader = int(np.argmax(table.point))
                    rest = step_down(np.delete(table.p[leader], leader))
                    clusters = all_pairs(mixed, name).beats & same
                    flips = flip_maximum(lines, name) <= ALPHA
                    hits[name].append((table.beats.any(), clusters.any(), np.nanmin(rest) <= ALPHA, flips))
            cells = [" / ".join(f"{rate:.3f}" for rate in np.mean(hits[name], axis=0)) for name in wanted]
            print(f"| {n}, {setting.name} | " + " | ".join(cells) + " |", flush=True)


def seed_runs(
    rng: np.random.Generator, setting: Setting, subjects: Subjects, seeds: int, spread: float
) -> list[Counts]:
    """Return the runs of a method, which differ in contrast (SD ``spread``) and in a fifth of their effects."""
    trials, n = subjects.slices.shape[:2]
    common, runs = rng.standard_normal((trials, n, 3)), []
    for _ in range(seeds):
        own = np.sqrt(0.8) * common + np.sqrt(0.2) * rng.standard_normal((trials, n, 3))
        runs.append(draw_scores(rng, setting, subjects, SHARED, own, spread * rng.standard_normal(trials)))
    return runs


def seed_table(sizes: list[int], simulations: int) -> None:
    """Print how often two equally good methods are separated, by their number of seeds."""
    wanted = ("image_auroc", "pixel_ap", "aupro")
    print("\nTwo equally good methods whose runs differ (SD of .3 in the contrast), p at most .05\n")
    print("| N, seeds | " + " | ".join(wanted) + " |\n" + "|---" * (len(wanted) + 1) + "|")
    for n in sizes:
        for seeds in (1, 2, 3, 5):
            rng, hits = np.random.default_rng([n, seeds]), {name: [] for name in wanted}  # type: ignore[var-annotated]
            for _ in range(0, simulations, 50):
                subjects = draw_subjects(rng, SETTINGS[0], 50, n)
                first, second = (seed_runs(rng, SETTINGS[0], subjects, seeds, 0.3) for _ in range(2))
                for name in wanted:
                    p = p_values(values_and_left_out(first, name), values_and_left_out(second, name))
                    hits[name] += list(p <= ALPHA)
            cells = [f"{np.mean(hits[name]):.3f}" for name in wanted]
            print(f"| {n}, {seeds} | " + " | ".join(cells) + " |", flush=True)


def control_errors(setting: Setting, n: int, boards: int, methods: int) -> dict[str, list[tuple[bool, ...]]]:
    """Return, for boards of methods that are as good as the control, whether any was found to beat it.

    Each method has seven subsets and their mean. Before a correction, after Holm's for all comparisons of the board,
    and with degrees of freedom of at most their median in addition.
    """
    rng = np.random.default_rng([n, 7])
    found: dict[str, list[tuple[bool, ...]]] = {name: [] for name in METRICS}
    for _ in range(boards):
        one = draw_subjects(rng, setting, 1, n)
        parts = (np.repeat(part, methods + 1, axis=0) for part in (one.area, one.size, one.effects, one.slices))
        sides: list[tuple[Values, Values]] = []
        for line in draw_lines(rng, setting, Subjects(*parts), OFFSETS, shared=SHARED):
            sides.append(_metrics(line))
        for name in METRICS:
            point, jack = (np.stack([pair[k][name] for pair in sides]) for k in (0, 1))
            point, jack = (np.concatenate([part, part.mean(axis=0, keepdims=True)]) for part in (point, jack))
            ours, control = (point[:, 1:][None], jack[:, 1:][None]), (point[:, :1][None], jack[:, :1][None])
            gap, _, total, df = compared(*ours, *control)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(total > 0, gap / np.sqrt(total), np.nan).ravel()
            df = np.where(np.isnan(t), np.nan, df.ravel())
            single = 2.0 * stats.t.sf(np.abs(t), df)
            rows = (single, step_down(single), family_p(t, df))
            found[name].append(tuple(bool(((t > 0) & (p <= ALPHA)).any()) for p in rows))
    return found


def control_table(sizes: list[int], boards: int, methods: int) -> None:
    """Print how often any of many methods that are as good as the control is found to beat it."""
    print(f"\nBoards of {methods} methods as good as the control, {boards} each: any is found to beat it on any of 7")
    print("subsets or in their mean: uncorrected / Holm, own df / Holm, at most the median df\n")
    print("| N, setting | " + " | ".join(METRICS) + " |\n" + "|---" * (len(METRICS) + 1) + "|")
    for n in sizes:
        for setting in (*SETTINGS, *FURTHER):
            rates = control_errors(setting, n, boards, methods)
            cells = [" / ".join(f"{rate:.3f}" for rate in np.mean(rates[name], axis=0)) for name in METRICS]
            print(f"| {n}, {setting.name} | " + " | ".join(cells) + " |", flush=True)


BINS = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, np.inf])


def power_boards(setting: Setting, n: int, boards: int, methods: int, metric: str) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield, for each board of spread methods, gaps in standard errors, single p, whether found, and group gaps."""
    grid = np.linspace(-1.5, 1.5, 13)
    values = [truth(with_contrast(setting, setting.contrast + shift))[metric] for shift in grid]
    rng = np.random.default_rng([n, 5])
    for _ in range(boards):
        shifts = np.sort(rng.normal(0.0, 0.5, methods).clip(-1.5, 1.5))[::-1]
        true = np.interp(shifts, grid, values)
        table = all_pairs(board(rng, setting, n, setting.contrast + shifts), metric)
        first, second = np.triu_indices(methods, 1)
        error = np.nanmedian(table.se)
        gap = (true[first] - true[second]) / error
        groups = tie_groups(table.point, table.beats)
        yield gap, table.p[first, second] <= ALPHA, table.beats[first, second], groups


def power_table(sizes: list[int], boards: int, methods: int) -> None:
    """Print how often a true gap is found, by its size in standard errors of the paired difference."""
    wanted = ("image_auroc", "pixel_ap", "aupro")
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(BINS)]
    print(
        f"\nBoards of {methods} methods of different quality: share of true gaps found by a single comparison / "
        "on the board\n"
    )
    print("| N, metric | groups | " + " | ".join(labels) + " |\n" + "|---" * (len(labels) + 2) + "|")
    for n in sizes:
        for metric in wanted:
            parts = list(power_boards(SETTINGS[0], n, boards, methods, metric))
            gap, alone, found = (np.concatenate([part[place] for part in parts]) for place in range(3))
            cells = []
            for low, high in pairwise(BINS):
                here = (gap >= low) & (gap < high)
                cells.append(f"{alone[here].mean():.2f} / {found[here].mean():.2f}" if here.any() else "-")
            groups = np.mean([part[3].max() for part in parts])
            print(f"| {n}, {metric} | {groups:.1f} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--boards", type=int, default=200)
    parser.add_argument("--methods", type=int, default=100)
    parser.add_argument("--subjects", type=int, nargs="+", default=[8, 20, 57])
    parser.add_argument("--tables", nargs="+", default=["single", "unequal", "boards", "controls", "seeds", "power"])
    arguments = parser.parse_args()
    sizes = arguments.subjects
    if "single" in arguments.tables:
        single_table(sizes, arguments.simulations)
    if "unequal" in arguments.tables:
        unequal_table(sizes, arguments.simulations)
    if "boards" in arguments.tables:
        board_table(sizes, arguments.boards, arguments.methods)
    if "controls" in arguments.tables:
        control_table(sizes, arguments.boards, arguments.methods)
    if "seeds" in arguments.tables:
        seed_table(sizes, arguments.simulations)
    if "power" in arguments.tables:
        power_table(sizes, max(arguments.boards // 4, 1), arguments.methods)


if __name__ == "__main__":
    main()
