"""Compare AnyAD's forms of alignment, and layouts of sequences on channels, with controls over several seeds.

Every run goes through ``anyadbench run``, so finished cells are not repeated and an interrupted study resumes where it
stopped. For each form the table gives the mean over subsets and seeds, and the difference from the control with the
interval of ``anyadbench compare`` over test subjects and the seeds of either side. With one test subject
there is no interval; the smallest and largest difference between runs of one seed are shown instead.

    python benchmarks/alignment.py --runs study
    python benchmarks/alignment.py --runs study --study channels
    python benchmarks/alignment.py --runs study --protocol mslub-7subsets --data MSLUB_FOLDER
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from anyadbench.boards.aggregate.compare import MEAN, compare
from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Variant

METRICS = ("pixel_auroc", "pixel_ap", "aupro", "image_auroc")


@dataclass(frozen=True)
class Arm:
    """One method with one value of one parameter; ``value`` is empty for the method with its defaults."""

    method: str
    parameter: str = ""
    value: str = ""

    @property
    def name(self) -> str:
        """Name in the table."""
        return self.value or self.method

    def settings(self) -> list[str]:
        """Return the options of ``anyadbench run``."""
        return ["--set", f"{self.method}.{self.parameter}={self.value}"] if self.value else []

    def fits(self, variant: Variant) -> bool:
        """Whether a board's variant is this arm."""
        params = variant.method.params
        return variant.method.name == self.method and (not self.value or params.get(self.parameter) == self.value)


STUDIES = {
    "alignment": (
        Arm("inpformer-moddrop"),
        *(Arm("anyad", "align", form) for form in ("teacher", "bottleneck", "adapter", "recalibration")),
    ),
    "channels": tuple(Arm("inpformer-moddrop", "channels", layout) for layout in ("stack", "spread", "grey")),
}
"""Arms of each study; the first one is the control."""


def run(arm: Arm, options: argparse.Namespace) -> None:
    """Run all seeds of one arm."""
    seeds = [part for seed in range(options.seeds) for part in ("--seed", str(seed))]
    data = [part for folder in options.data for part in ("--data", folder)]
    command = [sys.executable, "-m", "anyadbench", "run", "--method", arm.method, *arm.settings(), *seeds, *data]
    command += ["--protocol", options.protocol, "--runs", str(options.runs), "--threads", str(options.threads)]
    command += ["--slots", str(options.slots)]
    print("$ anyadbench", *command[3:], file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)


def by_seed(variant: Variant, metric: str) -> dict[int, float]:
    """Return the mean of a metric over the protocol's subsets, by seed."""
    found = {}
    for cell in variant.cells:
        if cell.result is not None:
            rows = [row for row in cell.result.rows if row.subset in cell.result.protocol.subsets]
            values = [row.metrics[metric] for row in rows]
            found[cell.result.seed] = statistics.fmean(math.nan if value is None else value for value in values)
    return found


def table(study: str, options: argparse.Namespace) -> str:
    """Return the Markdown table of a study."""
    (board,) = load_boards(options.runs, options.protocol)
    control, *others = STUDIES[study]
    found = {arm.name: next((v for v in board.variants if arm.fits(v)), None) for arm in (control, *others)}
    lines = ["| arm | seeds | " + " | ".join(METRICS) + " |", "| --- " * (len(METRICS) + 2) + "|"]
    for arm in others:
        mine, base = found[arm.name], found[control.name]
        if mine is None or base is None:
            continue
        if len(lines) == 2:
            values = " | ".join(f"{statistics.fmean(by_seed(base, metric).values()):.3f}" for metric in METRICS)
            lines.append(f"| {control.name} (control) | {len(base.seeds)} | {values} |")
        _, _, rows = compare(options.runs, (mine.key, base.key), board.slug, METRICS)
        spans = {row.metric: (row.low, row.high) for row in rows if row.subset == MEAN}
        cells = []
        for metric in METRICS:
            ours, theirs = by_seed(mine, metric), by_seed(base, metric)
            mean = statistics.fmean(ours.values())
            low, high = spans.get(metric, (None, None))
            span = f"{low:+.3f} to {high:+.3f}" if low is not None and high is not None else ""
            if not span:
                apart = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
                span = f"seeds {min(apart):+.3f} to {max(apart):+.3f}"
            cells.append(f"{mean:.3f} ({mean - statistics.fmean(theirs.values()):+.3f}; {span})")
        lines.append(f"| {arm.name} | {len(mine.seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", choices=sorted(STUDIES), default="alignment")
    parser.add_argument("--protocol", default="phantom-7subsets")
    parser.add_argument("--data", action="append", default=[], help="as for 'anyadbench run'")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per cell")
    parser.add_argument("--slots", type=int, default=2, help="cells at once")
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.table_only:
        for arm in STUDIES[options.study]:
            run(arm, options)
    print(table(options.study, options))


if __name__ == "__main__":
    main()
