"""How often the nominal 95 % interval of a board holds the truth, next to the percentile bootstrap.

``python benchmarks/coverage.py`` prints, for N = 8, 20 and 57 subjects and five generative settings, the coverage of
every metric for one fixed subset, for the mean over seven subsets of which each lacks some subjects, and for a mean
over three seeds. The truth comes from 20,000 simulated subjects. ``--summary`` prints the smallest and the largest
coverage over the settings only.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from simulated_cohorts import (
    ADDED,
    FURTHER,
    METRICS,
    OFFSETS,
    SETTINGS,
    Counts,
    Setting,
    draw_lines,
    draw_scores,
    draw_subjects,
    leave_one_out,
    resampled,
    truth,
    values_of,
    with_contrast,
)

from anyadbench.metrics.intervals.interval import ends, rule_of

ALL = (*METRICS, *ADDED)
BLOCK = 25
SEED_SD = 0.3
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)

Truths = dict[str, dict[str, float]]
Found = dict[tuple[str, str, str], list[np.ndarray]]


@cache
def fixed_truth(setting: Setting) -> dict[str, float]:
    """Return the true values of one fixed subset."""
    return truth(setting)


@cache
def truths(setting: Setting) -> Truths:
    """Return the true values of a fixed subset, of the mean over subsets, and of the mean over seeds."""
    subsets = [truth(with_contrast(setting, setting.contrast + offset)) for offset in OFFSETS]
    seeds = [truth(with_contrast(setting, setting.contrast + SEED_SD * node)) for node in NODES]
    return {
        "subset": subsets[0],
        "mean": {name: float(np.mean([found[name] for found in subsets])) for name in ALL},
        "seeds": {name: float(np.average([found[name] for found in seeds], weights=WEIGHTS)) for name in ALL},
    }


def covered(low: np.ndarray, high: np.ndarray, value: float) -> np.ndarray:
    """Return 1 where an interval holds the value, 0 where not, and NaN where there is no interval."""
    held = ((low <= value) & (value <= high)).astype(np.float64)
    return np.where(np.isfinite(low) & np.isfinite(high), held, np.nan)


def by_jackknife(point: np.ndarray, jack: np.ndarray, metric: str, value: float, *, mean: bool = False) -> np.ndarray:
    """Return the coverage of the board's own interval; the first axis counts seeds."""
    usable = np.isfinite(jack).all(axis=(0, -1)) & (point.mean(axis=0) > 0) & (point.mean(axis=0) < 1)
    with np.errstate(all="ignore"):
        low, high, _ = ends(point, jack, rule_of(metric, jack.shape[-1], mean=mean))
    return covered(np.where(usable, low, np.nan), high, value)


def by_bootstrap(values: np.ndarray, value: float) -> np.ndarray:
    """Return the coverage of the percentile interval of resamples."""
    low, high = np.nanquantile(values, [0.025, 0.975], axis=-1)
    return covered(low, high, value)


def _resamples(counts: Counts, draws: np.ndarray) -> dict[str, np.ndarray]:
    parts = [resampled(counts, draws[start : start + 50]) for start in range(0, len(draws), 50)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in ALL}


def subsets_block(rng: np.random.Generator, setting: Setting, n: int, trials: int, draws: np.ndarray, true: Truths,
                  found: Found) -> None:  # fmt: skip
    """Simulate some cohorts with seven subsets."""
    lines = draw_lines(rng, setting, draw_subjects(rng, setting, trials, n), OFFSETS)
    points, jacks = [values_of(line.pooled()) for line in lines], [leave_one_out(line) for line in lines]
    drawn = [_resamples(line, draws) for line in lines] if len(draws) else []
    for metric in ALL:
        point = np.stack([values[metric] for values in points])
        jack = np.stack([values[metric] for values in jacks])
        for kind, take in (("subset", lambda part: part[0]), ("mean", lambda part: part.mean(axis=0))):
            value = true[kind][metric]
            held = by_jackknife(take(point)[None], take(jack)[None], metric, value, mean=kind == "mean")
            found.setdefault((kind, metric, "jackknife"), []).append(held)
            if drawn:
                resamples = take(np.stack([values[metric] for values in drawn]))
                found.setdefault((kind, metric, "bootstrap"), []).append(by_bootstrap(resamples, value))


def fixed_block(rng: np.random.Generator, setting: Setting, n: int, trials: int, true: Truths, found: Found) -> None:
    """Simulate some cohorts with one subset that every subject has."""
    line = draw_scores(rng, setting, draw_subjects(rng, setting, trials, n))
    point, jack = values_of(line.pooled()), leave_one_out(line)
    for metric in ALL:
        held = by_jackknife(point[metric][None], jack[metric][None], metric, true["subset"][metric])
        found.setdefault(("subset", metric, "jackknife"), []).append(held)


def drawn_table(
    title: str, names: Sequence[str], settings: Sequence[str], found: Sequence[Mapping[str, tuple[float, float]]]
) -> None:
    """Print the coverage by setting, and the share of cohorts without an interval."""
    print(f"\n{title}: coverage (share of cohorts without an interval)\n")
    print("| number | " + " | ".join(settings) + " |")
    print("|---" * (len(settings) + 1) + "|")
    for name in names:
        cells = [f"{values[name][0]:.3f} ({values[name][1]:.2f})" for values in found]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def scans_table(n: int, simulations: int) -> None:
    """Print the coverage for the numbers of whole scans."""
    from simulated_scans import SCAN_METRICS, SCAN_SETTINGS, scan_coverage

    found = [scan_coverage(setting, n, simulations) for setting in SCAN_SETTINGS]
    title = f"N = {n}, whole scans, {simulations} simulations each"
    drawn_table(title, SCAN_METRICS, [setting.name for setting in SCAN_SETTINGS], found)


def boxes_table(n: int, simulations: int) -> None:
    """Print the coverage for the numbers of boxes."""
    from simulated_boxes import BOX_SETTINGS, NAMES, box_coverage

    found = [box_coverage(setting, n, simulations) for setting in BOX_SETTINGS]
    drawn_table(f"N = {n}, boxes, {simulations} simulations each", NAMES, [one.name for one in BOX_SETTINGS], found)


def seeds_block(rng: np.random.Generator, setting: Setting, n: int, trials: int, true: Truths, found: Found) -> None:
    """Simulate some cohorts on which one method was run with three seeds, and with one."""
    subjects = draw_subjects(rng, setting, trials, n)
    common = rng.standard_normal((trials, n, 3))
    points, jacks = [], []
    for _ in range(3):
        own = np.sqrt(0.8) * common + np.sqrt(0.2) * rng.standard_normal((trials, n, 3))
        line = draw_scores(rng, setting, subjects, 0.0, own, SEED_SD * rng.standard_normal(trials))
        points.append(values_of(line.pooled()))
        jacks.append(leave_one_out(line))
    for metric in ALL:
        point, jack = (np.stack([values[metric] for values in part]) for part in (points, jacks))
        for kind, count in (("three seeds", 3), ("one seed", 1)):
            held = by_jackknife(point[:count], jack[:count], metric, true["seeds"][metric])
            found.setdefault((kind, metric, "jackknife"), []).append(held)


def simulate(setting: Setting, n: int, simulations: int, resamples: int, fixed: bool = False) -> Found:
    """Return whether each simulated interval holds the truth, by kind, metric and method; a fixed subset alone."""
    rng, true = np.random.default_rng(n), {"subset": fixed_truth(setting)} if fixed else truths(setting)
    draws = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)
    found: Found = {}
    for start in range(0, simulations, BLOCK):
        trials = min(BLOCK, simulations - start)
        if fixed:
            fixed_block(rng, setting, n, trials, true, found)
            continue
        subsets_block(rng, setting, n, trials, draws, true, found)
        seeds_block(rng, setting, n, trials, true, found)
    return found


KINDS = (
    ("subset", "jackknife"),
    ("subset", "bootstrap"),
    ("mean", "jackknife"),
    ("mean", "bootstrap"),
    ("three seeds", "jackknife"),
    ("one seed", "jackknife"),
)
COLUMNS = (
    "one subset", "percentile", "mean of 7", "percentile", "3 seeds", "1 seed, noise not in it",
)  # fmt: skip


def main() -> None:
    """Print a table for each number of subjects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200, help="of the percentile bootstrap; 0 leaves it out")
    parser.add_argument("--subjects", type=int, nargs="+", default=[8, 20, 57])
    parser.add_argument("--summary", action="store_true", help="only the range over the settings")
    parser.add_argument("--fixed", action="store_true", help="one fixed subset only, without percentiles")
    parser.add_argument("--scans", action="store_true", help="the numbers of whole scans")
    parser.add_argument("--boxes", action="store_true", help="the numbers of boxes")
    arguments = parser.parse_args()
    kinds = KINDS[:1] if arguments.fixed else KINDS
    head = f"| {' | '.join(COLUMNS[: len(kinds)])} |"
    for n in arguments.subjects:
        if arguments.scans or arguments.boxes:
            (scans_table if arguments.scans else boxes_table)(n, arguments.simulations)
            continue
        rows: dict[tuple[str, str, str], list[float]] = {}
        for setting in (*SETTINGS, *FURTHER):
            found = simulate(setting, n, arguments.simulations, arguments.resamples, arguments.fixed)
            share = {key: float(np.nanmean(np.concatenate(parts))) for key, parts in found.items()}
            without = {key: float(np.isnan(np.concatenate(parts)).mean()) for key, parts in found.items()}
            for key, value in share.items():
                rows.setdefault(key, []).append(value)
            if not arguments.summary:
                print(f"\nN = {n}, {setting.name}, {arguments.simulations} simulations\n\n| metric {head}")
                print("|---" * (len(kinds) + 1) + "|")
                for metric in ALL:
                    cells = [f"{share.get((kind, metric, how), np.nan):.3f}" for kind, how in kinds]
                    print(f"| {metric} | " + " | ".join(cells) + " |", flush=True)
                print(f"\nWithout an interval: at most {max(without.values()):.3f} of the cohorts.", flush=True)
        print(f"\nN = {n}, smallest to largest over the settings, {arguments.simulations} simulations each\n")
        print(f"| metric {head}\n" + "|---" * (len(kinds) + 1) + "|")
        for metric in ALL:
            parts = [rows.get((kind, metric, how), [np.nan]) for kind, how in kinds]
            print(f"| {metric} | " + " | ".join(f"{min(v):.3f} to {max(v):.3f}" for v in parts) + " |", flush=True)


if __name__ == "__main__":
    main()
