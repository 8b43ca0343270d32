"""Slice-subsets per second that one core scores end to end with a free network, and what finishing a cell takes.

Run ``python benchmarks/scoring.py``. Slices of 240 x 240 pixels and four sequences are read from memory, shown to a
method that does nearly nothing (the mean of its inputs), and counted in seven rows, exact or in histograms. What is
timed is what the harness adds: masking, checks, image scores, records and counters. Then the rows' numbers and
intervals are computed. To compare two versions, run it with each on ``PYTHONPATH``, in turn; seconds are CPU seconds.

``--overlap`` compares counting beside the next call, as on a GPU, with counting between two calls, in turn and by the
clock; ``--idle`` adds what the network waits for a device at each call, during which the host is free.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

SIDE = 240
SEQUENCES = ("flair", "t1", "t1ce", "t2")
DISTINCT = 32


@dataclass
class Memory:
    """Slices in memory in place of a store and its reader: some distinct ones, over and over."""

    count: int
    shape: tuple[int, int] = (SIDE, SIDE)

    def __post_init__(self) -> None:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
        brain = (rows / 0.4) ** 2 + (columns / 0.3) ** 2 < 1
        noise = rng.standard_normal((DISTINCT, len(SEQUENCES), SIDE, SIDE)).astype(np.float32)
        smooth = gaussian_filter(noise, (0, 0, 2, 2)) * 2 + 0.3 * noise
        self.masks = np.zeros((DISTINCT, SIDE, SIDE), dtype=bool)
        for number in range(0, DISTINCT, 2):
            top, left, size = 90 + number, 100 - number, 12 + number
            self.masks[number, top : top + size, left : left + size] = True
        values = np.exp(0.3 * smooth) + 0.5 * self.masks[:, None]
        self.values = (values * brain).astype(np.float32)
        numbers = np.arange(self.count)
        self.boxes = None
        self.slices = pd.DataFrame(
            {
                "subject": [f"s{i // 24:04d}" for i in numbers], "scan": [f"s{i // 24:04d}" for i in numbers],
                "slice": numbers % 24, "height_mm": numbers % 24 * 5.0, "brain": 0.38, "cavity_px": 0,
                "lesion_px": self.masks.sum(axis=(1, 2))[numbers % DISTINCT],
            }
        )  # fmt: skip


@dataclass
class Mean:
    """The free network.

    Attributes:
        idle: Seconds that a call of one slice waits.
    """

    idle: float = 0.0

    def score(self, batch: Any) -> Any:
        """Return the mean of all inputs as the map."""
        from anyadbench.methods.contract import Scores

        if self.idle:
            time.sleep(self.idle * len(batch))
        return Scores(batch.inputs.mean(1))


def evaluator(count: int, idle: float = 0.0) -> tuple[Any, Any]:
    """Return an evaluator of slices in memory, and its test set."""
    from anyadbench.engine.map_sample import MapSample
    from anyadbench.engine.numerics import Policy
    from anyadbench.engine.reporter import Reporter
    from anyadbench.engine.scoring import Evaluator
    from anyadbench.protocols import find_protocol

    protocol: Any = find_protocol("phantom-7subsets")
    names, memory = protocol.sequences, Memory(count)
    slots = [SEQUENCES.index(name) for name in names]
    present = np.ones((count, len(names)), dtype=bool)
    reader = SimpleNamespace(
        store=memory, shape=memory.shape, present=lambda indices: present[indices],
        read=lambda indices: (memory.values[indices % DISTINCT][:, slots], present[indices]),
        masks=lambda indices, cavity: memory.masks[indices % DISTINCT], ignored=lambda indices, protocol: None,
    )  # fmt: skip
    abnormal = np.arange(count) % 2 == 0
    data = SimpleNamespace(
        protocol=protocol, reader=lambda *which: reader,
        test_indices=lambda test: (np.flatnonzero(~abnormal), np.flatnonzero(abnormal)),
    )  # fmt: skip
    test: Any = protocol.tests[0]
    method: Any = Mean(idle)
    given: Any = data
    return Evaluator(method, given, Policy(), Reporter(), MapSample("none", names)), test


def overlap(slices: int, idle: float, repeat: int) -> None:
    """Print the rate of both ways of counting, in turn, and the median of their ratios."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    count = 0
    for _ in range(repeat):
        for beside, times in seconds.items():
            scorer, test = evaluator(slices, idle)
            scorer.overlapped = beside
            begin = time.perf_counter()
            count = slices * len(scorer.run_test(test))
            times.append(time.perf_counter() - begin)
    between, beside_them = (count / statistics.median(times) for times in seconds.values())
    ratio = statistics.median(a / b for a, b in zip(seconds[False], seconds[True], strict=True))
    print(
        f"{count} slice-subsets, a call idle {idle * 1e3:g} ms a slice: counted between the calls {between:.0f} a "
        f"second, beside them {beside_them:.0f}, ratio {ratio:.2f}"
    )


def peak_megabytes() -> float:
    """Return the peak of resident memory; 0 where the system does not give it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Score and finish, and print seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=240)
    parser.add_argument("--exact", action="store_true", help="exact rows, not histograms")
    parser.add_argument("--repeat", type=int, default=1, help="runs of the scoring; the fastest counts")
    parser.add_argument("--finish", action="store_true", help="also compute the rows' numbers and intervals")
    parser.add_argument("--overlap", action="store_true", help="compare counting beside the next call and between two")
    parser.add_argument("--idle", type=float, default=0.0, help="ms that the network waits for each slice it is given")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    from anyadbench.engine import scoring
    from anyadbench.metrics.rows.row_numbers import row_numbers

    vars(scoring)["EXACT_PIXELS"] = 2**62 if arguments.exact else 0
    if arguments.overlap:
        overlap(arguments.slices, arguments.idle / 1e3, arguments.repeat)
        return
    best, states = float("inf"), {}
    for _ in range(arguments.repeat):
        scorer, test = evaluator(arguments.slices, arguments.idle / 1e3)
        base, begin = peak_megabytes(), time.process_time()
        states = scorer.run_test(test)
        best = min(best, time.process_time() - begin)
    count = arguments.slices * len(states)
    print(f"{count} slice-subsets: {best:.2f} s, {best / count * 1000:.3f} ms each, {count / best:.0f} a second")
    if not arguments.finish:
        return
    begin = time.process_time()
    while states:
        label = next(iter(states))
        state = states.pop(label)
        row_numbers(state.pixels(test.name, None), state.records, [])
    print(f"finishing {time.process_time() - begin:.2f} s, peak {peak_megabytes() - base:.0f} MB above the start")


if __name__ == "__main__":
    main()
