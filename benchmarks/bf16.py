"""Whether bfloat16 trains to the metrics of float32: several seeds of two methods in both, and their differences.

Every run goes through ``anyadbench run``, so finished cells are not repeated and an interrupted study resumes where it
stopped. A metric's value is its mean over the protocol's subsets; differences are those of one seed in bfloat16 and in
float32, and the interval is Student's for their mean. A CPU without bfloat16 units computes it slowly.

    python benchmarks/bf16.py --runs precision
    python benchmarks/bf16.py --runs precision --device cuda
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import t

from anyadbench.results.read import read_cells
from anyadbench.results.schema import CellResult

METRICS = ("pixel_auroc", "pixel_ap", "aupro", "image_auroc")
PRECISIONS = ("float32", "bfloat16")
GOAL = 0.01
"""Largest difference that would not matter, on either side."""


def run(precision: str, options: argparse.Namespace) -> None:
    """Run all methods and seeds in one precision."""
    methods = [part for method in options.method for part in ("--method", method)]
    seeds = [part for seed in range(options.seeds) for part in ("--seed", str(seed))]
    data = [part for folder in options.data for part in ("--data", folder)]
    command = [sys.executable, "-m", "anyadbench", "run", *methods, *seeds, *data, "--protocol", options.protocol]
    command += ["--budget", options.budget, "--runs", str(options.runs), "--threads", str(options.threads)]
    command += ["--slots", str(options.slots), "--device", options.device, "--precision", precision]
    print("$ anyadbench", *command[3:], file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)


def value_of(result: CellResult, metric: str) -> float:
    """Return the mean of a metric over the protocol's subsets; NaN if one is undefined."""
    rows = [row for row in result.rows if row.subset in result.protocol.subsets]
    values = [row.metrics.get(metric) for row in rows]
    return statistics.fmean(math.nan if value is None else value for value in values)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of differences; infinite from a single one."""
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return -math.inf, math.inf
    half = float(t.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return mean - half, mean + half


def table(options: argparse.Namespace) -> str:
    """Return the Markdown table of both precisions."""
    found: dict[tuple[str, str, int], CellResult] = {}
    for cell in read_cells(options.runs):
        if cell.result is not None:
            found[cell.result.method.name, cell.result.numerics.dtype, cell.result.seed] = cell.result
    lines = [
        "| method | metric | seeds | float32 | bfloat16 − float32 | 95 % interval | inside ±.01 |",
        "| --- " * 7 + "|",
    ]
    for method in options.method:
        seeds = [seed for seed in range(options.seeds) if all((method, kind, seed) in found for kind in PRECISIONS)]
        for metric in METRICS if seeds else ():
            sides = [[value_of(found[method, kind, seed], metric) for seed in seeds] for kind in PRECISIONS]
            differences = [half - full for full, half in zip(*sides, strict=True)]
            low, high = interval(differences)
            inside = "yes" if low >= -GOAL and high <= GOAL else "no"
            shown = (
                f"{statistics.fmean(sides[0]):.4f} | {statistics.fmean(differences):+.4f} | {low:+.4f} to {high:+.4f}"
            )
            lines.append(f"| {method} | {metric} | {len(seeds)} | {shown} | {inside} |")
    return "\n".join(lines)


def main() -> None:
    """Run both precisions and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", help="anyad and rd4ad by default")
    parser.add_argument("--protocol", default="phantom-dev")
    parser.add_argument("--data", action="append", default=[], help="as for 'anyadbench run'")
    parser.add_argument("--budget", default="demo")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per cell")
    parser.add_argument("--slots", type=int, default=2, help="cells at once")
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    options.method = options.method or ["anyad", "rd4ad"]
    if not options.table_only:
        for precision in PRECISIONS:
            run(precision, options)
    print(table(options))


if __name__ == "__main__":
    main()
