"""AnyAD, its variants, INP-Former and the controls on the phantom, at the published 392 px, on one GPU.

``python benchmarks/phantom_gpu.py --runs DIR`` trains every method for 2,000 steps of 16 slices with three seeds on
``phantom-7subsets``, with the packaged DINOv2 ViT-S/14, and prints one line per method and metric: the mean over
subsets of each seed, and their mean. Nothing is downloaded. The methods of one seed share the card, and all first seeds
start before any second one. No cell is started after ``--minutes``, and those that still run two minutes later are
interrupted; what is missing then is named, and a second call continues there. ``figures.txt`` in the runs folder holds
the table from the first finished cell on. ``--tiny`` does the same in a minute on the CPU, with a small network input,
few steps and one seed; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from anyadbench.data.phantom import digest, generate
from anyadbench.data.phantom.embedded import EMBEDDED, embedded
from anyadbench.engine.numerics import _cuda_available
from anyadbench.paths import cache_dir
from anyadbench.protocols import find_protocol
from anyadbench.results.read import CellRecord, read_cells
from anyadbench.sequences import AS_AVAILABLE

METHODS = ("anyad", "inpformer-moddrop", "anyad-intended", "inpformer", "anyad-released")
"""In the order in which they run: if time ends, the last are missing."""

METRICS = ("pixel_ap", "pixel_auroc", "aupro", "image_auroc_height", "image_auroc")
CONTROL = "control:"
SIZE, STEPS, BATCH = 392, 2000, 16
TINY_SIZE, TINY_STEPS, TINY_BATCH = 56, 3, 2

GRACE = 120.0
"""Seconds after ``--minutes`` in which a cell may still finish."""

STOPPING = 20.0
"""Seconds that an interrupted cell has to write its checkpoint."""


def device_name() -> str:
    """Return the name of the first GPU, or of the processor without one."""
    if not _cuda_available():  # without a driver, torch is not even imported
        return platform.processor() or platform.machine()
    import torch

    return torch.cuda.get_device_name(0)


def settings(options: argparse.Namespace) -> dict[str, int]:
    """Return the parameters that a method is trained with."""
    size, steps, batch = (TINY_SIZE, TINY_STEPS, TINY_BATCH) if options.tiny else (SIZE, STEPS, BATCH)
    return {"image_size": size, "steps": steps, "batch_size": batch, "epochs": 0, "warmup": min(100, steps // 2)}


def seeds(options: argparse.Namespace) -> range:
    """Return the seeds of this call."""
    return range(1 if options.tiny else options.seeds)


def command(method: str, seed: int, options: argparse.Namespace) -> list[str]:
    """Return the command that trains and scores one method with one seed; the first method brings the controls."""
    given = [f"--set={method}.{name}={value}" for name, value in settings(options).items()]
    data = [f"--data={options.data}"] if options.data else []
    controls = "--controls" if method == METHODS[0] else "--no-controls"
    return [
        sys.executable, "-m", "anyadbench", "run", f"--method={method}", f"--protocol={options.protocol}",
        f"--seed={seed}", "--budget=paper", f"--weights={options.weights}", "--keep-maps=none",
        f"--runs={options.runs}", controls, *given, *data,
    ]  # fmt: skip


def make_phantoms(protocol: str) -> None:
    """Make the phantoms of a protocol on all cores; a run would use two."""
    chosen = find_protocol(protocol)
    for name in chosen.datasets:
        if name not in EMBEDDED:
            continue
        spec = embedded(name, chosen.uses_healthy)
        generate(cache_dir() / "phantom" / digest(spec)[:16], spec, workers=os.cpu_count() or 1)


def run(options: argparse.Namespace, device: str) -> list[str]:
    """Run what is missing until the time is up; return what was not started, was interrupted or failed."""
    began = time.monotonic()
    if options.minutes > 0 and not options.data:
        make_phantoms(options.protocol)
    last_start, ends = began + 60 * options.minutes, began + 60 * options.minutes + GRACE
    waiting = deque((seed, method) for seed in seeds(options) for method in METHODS)
    running: dict[str, subprocess.Popen[bytes]] = {}
    left = []
    while waiting or running:
        while waiting and len(running) < options.at_once:
            seed, method = waiting.popleft()
            if time.monotonic() > last_start:
                left.append(f"{method}, seed {seed} (time is up)")
            else:
                running[f"{method}, seed {seed}"] = subprocess.Popen(command(method, seed, options), stdout=sys.stderr)
        if time.monotonic() > ends:
            left += [f"{name} (interrupted)" for name in interrupted(running)]
            running.clear()
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                left += [f"{name} (failed)"] * bool(process.returncode)
                print(f"{time.monotonic() - began:.0f} s: {name} ended", file=sys.stderr, flush=True)
                write_figures(options, device, left)
        time.sleep(0.2 if running else 0)
    return left


def interrupted(running: dict[str, subprocess.Popen[bytes]]) -> list[str]:
    """Interrupt the cells that run, so that a second call resumes them, and return their names."""
    for process in running.values():
        process.send_signal(signal.SIGINT)
    ends = time.monotonic() + STOPPING
    for process in running.values():
        try:
            process.wait(max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
    return list(running)


def records(options: argparse.Namespace) -> list[CellRecord]:
    """Return the finished cells of this call's protocol, seeds, weights and parameters; the folder may hold others."""
    if not (options.runs / "cells").is_dir():
        return []
    protocol, wanted = find_protocol(options.protocol), settings(options)
    kept = []
    for record in read_cells(options.runs):
        result = record.result
        if result is None or (result.protocol.name, result.protocol.version) != (protocol.name, protocol.version):
            continue
        params = {name: result.method.params.get(name) for name in wanted}
        alike = params == wanted and result.weights.profile == options.weights.partition(":")[0]
        if result.seed in seeds(options) and (record.method.startswith(CONTROL) or alike):
            kept.append(record)
    return kept


def mean_over_subsets(record: CellRecord, metric: str) -> float | None:
    """Return the mean of a metric over the subsets of a cell; ``None`` if one of them has no value."""
    rows = record.result.rows if record.result is not None else []
    values = [row.metrics.get(metric) for row in rows if row.subset != AS_AVAILABLE]
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def lines(finished: list[CellRecord]) -> Iterator[tuple[str, ...]]:
    """Yield one line per method and metric."""
    for method in dict.fromkeys(record.method for record in finished):
        own = sorted((record for record in finished if record.method == method), key=lambda record: record.seed or 0)
        for metric in METRICS:
            found = [mean_over_subsets(record, metric) for record in own]
            known = [value for value in found if value is not None]
            each = " ".join("-" if value is None else f"{value:.3f}" for value in found)
            yield method, metric, f"{fmean(known):.3f}" if known else "-", each


def figures(options: argparse.Namespace, device: str) -> str:
    """Return the table of what is finished, below the device's name."""
    table = [("method", "metric", "mean", "seeds"), *lines(records(options))]
    widths = [max(len(line[column]) for line in table) for column in range(4)]
    rows = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([f"device: {device}", *rows])


def write_figures(options: argparse.Namespace, device: str, left: list[str]) -> None:
    """Write the table to the runs folder."""
    missing = [f"missing: {'; '.join(left)}"] if left else []
    options.runs.mkdir(parents=True, exist_ok=True)
    (options.runs / "figures.txt").write_text("\n".join([figures(options, device), *missing, ""]))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="runs folder [runs-phantom-gpu; with --tiny runs-phantom-gpu-tiny]")
    parser.add_argument("--protocol", default="phantom-7subsets")
    parser.add_argument("--data", default="", help="folder of the data set, for a protocol of your own")
    parser.add_argument("--weights", default="package", help="as of anyadbench run, e.g. file:PATH of the same network")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="no cell is started after these")
    parser.add_argument("--at-once", type=int, help="cells that share the device [5; with --tiny 1]")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    options.runs = options.runs or Path(f"runs-phantom-gpu{'-tiny' if options.tiny else ''}")
    options.at_once = options.at_once or (1 if options.tiny else len(METHODS))
    return options


def main() -> None:
    """Run the methods and print the table."""
    options, device = arguments(), device_name()
    left = run(options, device)
    write_figures(options, device, left)
    print(figures(options, device))
    if left:
        sys.exit(f"missing: {'; '.join(left)}")


if __name__ == "__main__":
    main()
