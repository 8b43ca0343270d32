"""AnyAD, its variants, INP-Former and the controls on the phantom, at the published 392 px, on one GPU.

``python benchmarks/phantom_gpu.py --runs DIR`` trains every method for 2,000 steps of 16 slices with three seeds on
``phantom-7subsets``, with the packaged DINOv2 ViT-S/14, and prints one line per method and metric: the mean over
subsets of each seed, and their mean. Nothing is downloaded. All first seeds run before any second one, and no cell is
started after ``--minutes``; what is missing then is named, and a second call continues there. ``--tiny``
does the same in a minute on the CPU, with a small network input, few steps and one seed; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from anyadbench.results.read import CellRecord, read_cells
from anyadbench.sequences import AS_AVAILABLE

METHODS = ("anyad", "inpformer-moddrop", "anyad-intended", "inpformer", "anyad-released")
"""In the order in which they run: if time ends, the last are missing."""

METRICS = ("pixel_ap", "pixel_auroc", "aupro", "image_auroc_height", "image_auroc")
SIZE, STEPS, BATCH = 392, 2000, 16
TINY_SIZE, TINY_STEPS, TINY_BATCH = 56, 3, 2


def device_name() -> str:
    """Return the name of the first GPU, or of the processor without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.processor() or platform.machine()


def command(method: str, seed: int, options: argparse.Namespace) -> list[str]:
    """Return the command that trains and scores one method with one seed."""
    size, steps, batch = (TINY_SIZE, TINY_STEPS, TINY_BATCH) if options.tiny else (SIZE, STEPS, BATCH)
    settings = {"image_size": size, "steps": steps, "batch_size": batch, "epochs": 0}
    settings |= {"warmup": min(100, steps // 2)}
    given = [f"--set={method}.{name}={value}" for name, value in settings.items()]
    data = [f"--data={options.data}"] if options.data else []
    return [
        sys.executable, "-m", "anyadbench", "run", f"--method={method}", f"--protocol={options.protocol}",
        f"--seed={seed}", "--budget=paper", "--weights=package", "--keep-maps=none", f"--runs={options.runs}",
        *given, *data,
    ]  # fmt: skip


def run(options: argparse.Namespace) -> list[str]:
    """Run what is missing until the time is up; return what was not started or failed."""
    ends = time.monotonic() + 60 * options.minutes
    left = []
    for seed in range(1 if options.tiny else options.seeds):
        for method in METHODS:
            name = f"{method}, seed {seed}"
            if time.monotonic() > ends:
                left.append(f"{name} (time is up)")
            elif subprocess.run(command(method, seed, options), stdout=sys.stderr).returncode:
                left.append(f"{name} (failed)")
    return left


def mean_over_subsets(record: CellRecord, metric: str) -> float | None:
    """Return the mean of a metric over the subsets of a cell; ``None`` if one of them has no value."""
    rows = record.result.rows if record.result is not None else []
    values = [row.metrics.get(metric) for row in rows if row.subset != AS_AVAILABLE]
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def lines(records: list[CellRecord]) -> Iterator[tuple[str, ...]]:
    """Yield one line per method and metric."""
    finished = [record for record in records if record.result is not None]
    for method in dict.fromkeys(record.method for record in finished):
        own = sorted((record for record in finished if record.method == method), key=lambda record: record.seed or 0)
        for metric in METRICS:
            found = [mean_over_subsets(record, metric) for record in own]
            known = [value for value in found if value is not None]
            each = " ".join("-" if value is None else f"{value:.3f}" for value in found)
            yield method, metric, f"{fmean(known):.3f}" if known else "-", each


def main() -> None:
    """Run the methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs-phantom-gpu"))
    parser.add_argument("--protocol", default="phantom-7subsets")
    parser.add_argument("--data", default="", help="folder of the data set, for a protocol of your own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0, help="no cell is started after these")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    left = run(options)
    print(f"device: {device_name()}")
    table = [("method", "metric", "mean", "seeds"), *lines(read_cells(options.runs))]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if left:
        sys.exit(f"missing: {'; '.join(left)}")


if __name__ == "__main__":
    main()
