"""How often the nominal 95 % interval of a board holds the truth, next to the percentile bootstrap.

``python benchmarks/coverage.py`` prints, for N = 8, 20 and 57 subjects and five generative settings, the coverage of
every metric for one fixed subset, for the mean over seven subsets of which each lacks some subjects, and for a mean
over three seeds. The truth comes from 20,000 simulated subjects. ``--summary`` prints the smallest and the largest
coverage over the settings only.
"""

from __future__ import annotations

import argparse
from functools import cache

import numpy as np
from simulated_cohorts import (
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

from anyadbench.metrics.intervals.interval import RULES, Rule, ends

BLOCK = 25
SEED_SD = 0.3
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(7)

Truths = dict[str, dict[str, float]]
Found = dict[tuple[str, str, str], list[np.ndarray]]


@cache
def truths(setting: Setting) -> Truths:
    """Return the true values of a fixed subset, of the mean over subsets, and of the mean over seeds."""
    subsets = [truth(with_contrast(setting, setting.contrast + offset)) for offset in OFFSETS]
    seeds = [truth(with_contrast(setting, setting.contrast + SEED_SD * node)) for node in NODES]
    return {
        "subset": subsets[0],
        "mean": {name: float(np.mean([found[name] for found in subsets])) for name in METRICS},
        "seeds": {name: float(np.average([found[name] for found in seeds], weights=WEIGHTS)) for name in METRICS},
    }


def covered(low: np.ndarray, high: np.ndarray, value: float) -> np.ndarray:
    """Return 1 where an interval holds the value, 0 where not, and NaN where there is no interval."""
    held = ((low <= value) & (value <= high)).astype(np.float64)
    return np.where(np.isfinite(low) & np.isfinite(high), held, np.nan)


def by_jackknife(point: np.ndarray, jack: np.ndarray, metric: str, value: float) -> np.ndarray:
    """Return the coverage of the board's own interval; the first axis counts seeds."""
    usable = np.isfinite(jack).all(axis=(0, -1)) & (point.mean(axis=0) > 0) & (point.mean(axis=0) < 1)
    with np.errstate(all="ignore"):
        low, high, _ = ends(point, jack, RULES.get(metric, Rule()))
    return covered(np.where(usable, low, np.nan), high, value)


def by_bootstrap(values: np.ndarray, value: float) -> np.ndarray:
    """Return the coverage of the percentile interval of resamples."""
    low, high = np.nanquantile(values, [0.025, 0.975], axis=-1)
    return covered(low, high, value)


def _resamples(counts: Counts, draws: np.ndarray) -> dict[str, np.ndarray]:
    parts = [resampled(counts, draws[start : start + 50]) for start in range(0, len(draws), 50)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in METRICS}


def subsets_block(rng: np.random.Generator, setting: Setting, n: int, trials: int, draws: np.ndarray, true: Truths,
                  found: Found) -> None:  # fmt: skip
    """Simulate some cohorts with seven subsets."""
    lines = draw_lines(rng, setting, draw_subjects(rng, setting, trials, n), OFFSETS)
    points, jacks = [values_of(line.pooled()) for line in lines], [leave_one_out(line) for line in lines]
    drawn = [_resamples(line, draws) for line in lines] if len(draws) else []
    for metric in METRICS:
        point = np.stack([values[metric] for values in points])
        jack = np.stack([values[metric] for values in jacks])
        for kind, take in (("subset", lambda part: part[0]), ("mean", lambda part: part.mean(axis=0))):
            value = true[kind][metric]
            held = by_jackknife(take(point)[None], take(jack)[None], metric, value)
            found.setdefault((kind, metric, "jackknife"), []).append(held)
            if drawn:
                resamples = take(np.stack([values[metric] for values in drawn]))
                found.setdefault((kind, metric, "bootstrap"), []).append(by_bootstrap(resamples, value))


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
    for metric in METRICS:
        point, jack = (np.stack([values[metric] for values in part]) for part in (points, jacks))
        for kind, count in (("three seeds", 3), ("one seed", 1)):
            held = by_jackknife(point[:count], jack[:count], metric, true["seeds"][metric])
            found.setdefault((kind, metric, "jackknife"), []).append(held)


def simulate(setting: Setting, n: int, simulations: int, resamples: int) -> Found:
    """Return whether each simulated interval holds the truth, by kind, metric and method."""
    rng, true = np.random.default_rng(n), truths(setting)
    draws = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples).astype(np.float64)
    found: Found = {}
    for start in range(0, simulations, BLOCK):
        trials = min(BLOCK, simulations - start)
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
HEAD = "| one subset | percentile | mean of 7 | percentile | 3 seeds | 1 seed, noise not in it |"


def main() -> None:
    """Print a table for each number of subjects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200, help="of the percentile bootstrap; 0 leaves it out")
    parser.add_argument("--subjects", type=int, nargs="+", default=[8, 20, 57])
    parser.add_argument("--summary", action="store_true", help="only the range over the settings")
    arguments = parser.parse_args()
    for n in arguments.subjects:
        rows: dict[tuple[str, str, str], list[float]] = {}
        for setting in (*SETTINGS, *FURTHER):
            found = simulate(setting, n, arguments.simulations, arguments.resamples)
            share = {key: float(np.nanmean(np.concatenate(parts))) for key, parts in found.items()}
            without = {key: float(np.isnan(np.concatenate(parts)).mean()) for key, parts in found.items()}
            for key, value in share.items():
                rows.setdefault(key, []).append(value)
            if not arguments.summary:
                print(f"\nN = {n}, {setting.name}, {arguments.simulations} simulations\n\n| metric {HEAD}")
                print("|---" * (len(KINDS) + 1) + "|")
                for metric in METRICS:
                    cells = [f"{share.get((kind, metric, how), np.nan):.3f}" for kind, how in KINDS]
                    print(f"| {metric} | " + " | ".join(cells) + " |", flush=True)
                print(f"\nWithout an interval: at most {max(without.values()):.3f} of the cohorts.", flush=True)
        print(f"\nN = {n}, smallest to largest over the settings, {arguments.simulations} simulations each\n")
        print(f"| metric {HEAD}\n" + "|---" * (len(KINDS) + 1) + "|")
        for metric in METRICS:
            parts = [rows.get((kind, metric, how), [np.nan]) for kind, how in KINDS]
            print(f"| {metric} | " + " | ".join(f"{min(v):.3f} to {max(v):.3f}" for v in parts) + " |", flush=True)


if __name__ == "__main__":
    main()
