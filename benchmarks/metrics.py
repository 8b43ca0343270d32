"""Compare implementations of the pixel metrics: seconds, peak memory, values and their error.

Run ``python benchmarks/metrics.py --n 1000``. Every implementation runs in its own process on the same synthetic maps.
Its error is the difference from the exact implementation of this package, which the tests check against scikit-learn
and a plain reference. One that is not installed is listed with the reason. Seconds are those of the metrics alone,
without reading the maps; the ratio is of CPU seconds, which a busy machine affects less. Peak memory is counted beyond
the imports, and includes the maps themselves if they are loaded whole.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

SIZE = 256  # as in metric_maps, which loads numpy
BATCH = 32
SHOWN = ("pixel_auroc", "pixel_ap", "pixel_f1", "aupro")

Loader = Callable[[], tuple[Any, Any]]
Batches = Callable[[], Iterator[tuple[Any, Any]]]


class Clock:
    """Adds up wall-clock and CPU seconds of the blocks it is entered for."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def __exit__(self, *exception: object) -> None:
        self.wall += time.perf_counter() - self._begin[0]
        self.cpu += time.process_time() - self._begin[1]


def ours_exact(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the exact state on maps in memory."""
    from anyadbench.metrics import PixelStats

    maps, masks = load()
    with clock:
        stats = PixelStats()
        stats.update(maps, masks)
        return stats.compute()


def ours_exact_batches(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the exact state fed with batches that are dropped after use."""
    from anyadbench.metrics import PixelStats

    return _fed(PixelStats(), batches, clock)


def ours_streaming(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the streaming state fed with batches that are dropped after use."""
    from anyadbench.metrics import PixelState

    state = PixelState()
    values = _fed(state, batches, clock)
    return values | {"bound_ap": state.error_bound["pixel_ap"]}


def ours_exact_brain(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the exact counts of field and brain together, on maps in memory."""
    from anyadbench.metrics.rows.split_counts import SplitCounts

    maps, masks = load()
    return _split(SplitCounts(), [(maps, masks)], clock)


def ours_streaming_brain(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the streaming counts of field and brain together, fed with batches that are dropped after use."""
    from anyadbench.metrics.rows.split_bins import SplitBins

    return _split(SplitBins(), batches(), clock)


def _split(counts: Any, batches: Iterable[tuple[Any, Any]], clock: Clock) -> dict[str, float]:
    from anyadbench.metrics.core.inside import brain_values
    from anyadbench.metrics.rows.split_counts import slice_pixels

    for maps, masks in batches:
        brains = _brains(len(maps))
        with clock:
            counts.add(maps, slice_pixels(masks, brains))
    with clock:
        values: dict[str, float] = counts.field().compute()
        return values | brain_values(counts.inside.curve())


def _brains(count: int) -> Any:
    """Return brains that cover 38 % of the field."""
    import numpy as np

    rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    return np.tile((rows / 0.4) ** 2 + (columns / 0.3) ** 2 < 1, (count, 1, 1))  # in memory of its own, as masks are


def _fed(state: Any, batches: Batches, clock: Clock) -> dict[str, float]:
    for maps, masks in batches():
        with clock:
            state.update(maps, masks)
    with clock:
        values: dict[str, float] = state.compute()
    return values


def scikit_learn(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time its three metrics; scikit-learn has no AUPRO."""
    import numpy as np
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    maps, masks = load()
    with clock:
        truth, scores = masks.ravel(), maps.ravel()
        values = {
            "pixel_auroc": float(roc_auc_score(truth, scores)),
            "pixel_ap": float(average_precision_score(truth, scores)),
        }
        precision, recall, _ = precision_recall_curve(truth, scores)
        values["pixel_f1"] = float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))
    return values


def torchmetrics_exact(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time AUROC, AP and the precision-recall curve of torchmetrics with every threshold."""
    import torch
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
        binary_precision_recall_curve,
    )

    maps, masks = load()
    with clock:
        scores, truth = torch.from_numpy(maps).ravel(), torch.from_numpy(masks).ravel().long()
        values = {
            "pixel_auroc": float(binary_auroc(scores, truth)),
            "pixel_ap": float(binary_average_precision(scores, truth)),
        }
        precision, recall, _ = binary_precision_recall_curve(scores, truth)
        values["pixel_f1"] = float((2 * precision * recall / (precision + recall).clamp_min(1e-12)).max())
    return values


def anomalib_four(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time AUROC, AUPR, F1Max and AUPRO of anomalib."""
    import torch
    from anomalib.metrics.aupr import _AUPR
    from anomalib.metrics.aupro import _AUPRO
    from anomalib.metrics.auroc import _AUROC
    from anomalib.metrics.f1_score import _F1Max

    maps, masks = load()
    scores, truth = torch.from_numpy(maps), torch.from_numpy(masks).int()
    makers = {"pixel_auroc": _AUROC, "pixel_ap": _AUPR, "pixel_f1": _F1Max, "aupro": _AUPRO}
    with clock:
        values = {}
        for name, maker in makers.items():
            metric = maker()
            metric.update(scores, truth)
            values[name] = float(metric.compute())
    return values


def adeval_200(load: Loader, batches: Batches, clock: Clock) -> dict[str, float]:
    """Time the accumulator of adeval with 200 bins, as called by AnyAD and INP-Former; it has no F1."""
    import numpy as np

    if not hasattr(np, "trapz"):
        # adeval 1.1.0 calls a function that numpy 2.4 renamed.
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    from adeval import EvalAccumulator

    maps, masks = load()
    masks = masks.astype(np.uint8)
    with clock:
        accumulator = EvalAccumulator(float(maps.min()), float(maps.max()), nstrips=200)
        for start in range(0, len(maps), BATCH):
            accumulator.add_anomap_batch(maps[start : start + BATCH], masks[start : start + BATCH])
        summary = accumulator.summary()
    names = {"p_auroc": "pixel_auroc", "p_aupr": "pixel_ap", "p_aupro": "aupro"}
    return {ours: float(summary[theirs]) for theirs, ours in names.items()}


IMPLEMENTATIONS: dict[str, tuple[Callable[[Loader, Batches, Clock], dict[str, float]], tuple[str, ...]]] = {
    "ours exact": (ours_exact, ("anyadbench.metrics.core.exact", "scipy.sparse.csgraph")),
    "ours exact, batches": (ours_exact_batches, ("anyadbench.metrics.core.exact", "scipy.sparse.csgraph")),
    "ours streaming": (ours_streaming, ("anyadbench.metrics.core.streaming", "scipy.sparse.csgraph")),
    "ours exact, with brain": (ours_exact_brain, ("anyadbench.metrics.rows.split_counts", "scipy.sparse.csgraph")),
    "ours streaming, with brain": (
        ours_streaming_brain,
        ("anyadbench.metrics.rows.split_bins", "scipy.sparse.csgraph"),
    ),
    "scikit-learn": (scikit_learn, ("sklearn.metrics",)),
    "torchmetrics exact": (torchmetrics_exact, ("torch", "torchmetrics.functional.classification")),
    "anomalib": (anomalib_four, ("anomalib.metrics.aupro", "anomalib.metrics.f1_score")),
    "adeval 200 bins": (adeval_200, ("adeval",)),
}
"""By name: the function, and the modules loaded before memory and time are measured."""


def child(name: str, folder: Path, count: int) -> dict[str, Any]:
    """Run one implementation in this process."""
    import importlib

    import numpy as np

    function, modules = IMPLEMENTATIONS[name]
    try:
        for module in modules:
            importlib.import_module(module)
    except (ImportError, AttributeError) as error:
        return {"skipped": f"{type(error).__name__}: {error}"}

    def load() -> tuple[Any, Any]:
        shape = (count, SIZE, SIZE)
        maps = np.fromfile(folder / "maps.bin", dtype=np.float32).reshape(shape)
        return maps, np.fromfile(folder / "masks.bin", dtype=np.bool_).reshape(shape)

    def batches() -> Iterator[tuple[Any, Any]]:
        with open(folder / "maps.bin", "rb") as maps, open(folder / "masks.bin", "rb") as masks:
            for start in range(0, count, BATCH):
                shape = (min(BATCH, count - start), SIZE, SIZE)
                pixels = shape[0] * SIZE * SIZE
                yield (
                    np.fromfile(maps, dtype=np.float32, count=pixels).reshape(shape),
                    np.fromfile(masks, dtype=np.bool_, count=pixels).reshape(shape),
                )

    baseline = _peak_megabytes(reset=True)
    clock = Clock()
    values = function(load, batches, clock)
    measured = {"seconds": clock.wall, "cpu_seconds": clock.cpu, "megabytes": _peak_megabytes(reset=False) - baseline}
    return values | measured


def _peak_megabytes(reset: bool) -> float:
    """Return the peak resident memory since the last reset; only Linux resets, elsewhere it is the overall peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run_child(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one implementation ``--repeat`` times in separate processes and keep the fastest."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(arguments.threads))
    command = [sys.executable, __file__, "--n", str(arguments.n), "--child", name, "--folder", str(folder)]
    rows = []
    for _ in range(arguments.repeat):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return {"skipped": f"failed: {last}"}
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        if "skipped" in rows[-1]:
            return dict(rows[-1])
    return dict(min(rows, key=lambda row: row["seconds"]))


def jackknife(folder: Path, count: int) -> dict[str, float]:
    """Time the intervals of all metrics: values without each subject, of ten slices each, from counts by subject."""
    import numpy as np

    from anyadbench.metrics import PixelStats, image_metrics, top_fraction_mean
    from anyadbench.metrics.core.cohort import exact_cohort, lesion_owners
    from anyadbench.metrics.intervals.interval import intervals
    from anyadbench.metrics.intervals.jackknife import jackknife_values, one_seed

    states, images = [], []
    with open(folder / "maps.bin", "rb") as maps, open(folder / "masks.bin", "rb") as masks:
        for start in range(0, count, 10):
            shape = (min(10, count - start), SIZE, SIZE)
            scores = np.fromfile(maps, dtype=np.float32, count=shape[0] * SIZE * SIZE).reshape(shape)
            truth = np.fromfile(masks, dtype=np.bool_, count=scores.size).reshape(shape)
            state = PixelStats(1 << 20)
            state.update(scores, truth)
            states.append(state)
            images.append((top_fraction_mean(scores), truth.any(axis=(1, 2))))
    pooled = PixelStats()
    for state in states:
        pooled.merge(state)
    steps = pooled.steps()
    counting, leaving_out = Clock(), Clock()
    with counting:
        cohort = exact_cohort(states, steps, lesion_owners(states))
    scores, labels = (np.concatenate(part) for part in zip(*images, strict=True))
    points = steps.compute() | image_metrics(scores, labels)
    with leaving_out:
        names = [str(number) for number in range(len(states))]
        intervals(one_seed(names, *jackknife_values(cohort, images, points)))
    return {"subjects": len(states), "count_seconds": counting.wall, "interval_seconds": leaving_out.wall}


def report(rows: dict[str, dict[str, Any]]) -> str:
    """Return the table as text."""
    base = rows.get("ours exact", {})
    lines = [
        f"{'implementation':27s}{'s':>9s}{'cpu s':>9s}{'ratio':>8s}{'MB':>8s}"
        + "".join(f"{name:>26s}" for name in SHOWN)
    ]
    for name, row in rows.items():
        if "skipped" in row:
            lines.append(f"{name:27s} skipped: {row['skipped']}")
            continue
        ratio = f"{row['cpu_seconds'] / base['cpu_seconds']:.2f}" if "seconds" in base else "-"
        line = f"{name:27s}{row['seconds']:9.3f}{row['cpu_seconds']:9.3f}{ratio:>8s}{row['megabytes']:8.0f}"
        for metric in SHOWN:
            value = row.get(metric)
            error = f" ({value - base[metric]:+.0e})" if value is not None and metric in base else ""
            line += f"{'-' if value is None else f'{value:.9f}' + error:>26s}"
        lines.append(line)
    for kind in ("exact", "streaming"):
        field, both = (rows.get(name, {}).get("cpu_seconds") for name in (f"ours {kind}", f"ours {kind}, with brain"))
        if field and both:
            lines.append(f"{kind}: field and brain together take {both / field:.2f} times as long as the field alone")
    return "\n".join(lines)


def main() -> None:
    """Read the options, make the data once, run every implementation and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="number of 256 x 256 maps")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each implementation; the fastest counts")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads per implementation")
    parser.add_argument("--only", action="append", choices=list(IMPLEMENTATIONS), help="run only this one (repeatable)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--child", choices=list(IMPLEMENTATIONS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child, arguments.folder, arguments.n)))
        return
    with tempfile.TemporaryDirectory() as name:
        from metric_maps import make_data

        make_data(Path(name), arguments.n)
        chosen = arguments.only or list(IMPLEMENTATIONS)
        rows = {implementation: run_child(implementation, Path(name), arguments) for implementation in chosen}
        intervals = jackknife(Path(name), arguments.n)
    if arguments.json:
        print(json.dumps({"implementations": rows, "intervals": intervals}, indent=2))
        return
    print(report(rows))
    print(
        f"intervals of 9 metrics of the field over {intervals['subjects']} subjects, {arguments.n} slices: "
        f"{intervals['interval_seconds']:.2f} s, counting by subject {intervals['count_seconds']:.2f} s"
    )


if __name__ == "__main__":
    main()
