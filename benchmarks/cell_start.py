"""Time from the start of a worker to its last import, as a new process and forked from one that has its imports.

python benchmarks/cell_start.py [--rounds 5]

Both sides take turns, once for a method without timm and once for one with it. CPU seconds hardly depend on what else
the machine does; the worker's own count from its first instruction, a new interpreter included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from anyadbench.launch.supervisor import Process
from anyadbench.launch.warm.forked import WarmParent
from anyadbench.processes import LIFELINE, python_command, search_path

WORKER = """
import importlib, os, sys, time
import anyadbench.cells.job, anyadbench.engine.reporter, anyadbench.plugins.blame, anyadbench.cells.scored_cell
import torch, pandas, cv2, anyadbench.api
torch.optim.SGD([torch.zeros(1)], lr=1.0)
if sys.argv[1] == "timm":
    import timm
os.write(int(sys.argv[3]), f"{time.monotonic()} {time.process_time()}".encode())
"""


def seconds(extra: str, environment: dict[str, str], parent: WarmParent | None) -> tuple[float, float]:
    """Return the time and the CPU time from a start to the last import.

    Args:
        extra: ``timm`` for a method that uses it.
        environment: The worker's environment.
        parent: What the worker is forked from; ``None`` starts a process.
    """
    (reading, writing), (watched, held) = os.pipe(), os.pipe()
    began = time.monotonic()
    if parent is None:
        options = [extra, "--events", str(writing), LIFELINE, str(watched)]
        process: Process | None = subprocess.Popen(
            python_command("-m", "bench_worker", *options), env=environment, pass_fds=(writing, watched),
            start_new_session=True,
        )  # fmt: skip
    else:
        process = parent.start(extra, environment, errors=2, events=writing, lifeline=watched)
    os.close(writing)
    with os.fdopen(reading) as events:
        ended, spent = map(float, events.read().split())
    for descriptor in (watched, held):
        os.close(descriptor)
    assert process is not None, "no worker can be forked (any more)"
    process.wait()
    return ended - began, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        site = stack.enter_context(tempfile.TemporaryDirectory())
        (Path(site) / "bench_worker.py").write_text(WORKER)
        path = os.pathsep.join([site, str(Path(__file__).parents[1]), *search_path()])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        began = time.monotonic()
        parent = stack.enter_context(closing(WarmParent(environment, print, worker="bench_worker")))
        if not parent.ready():
            raise SystemExit("no worker can be forked here")
        print(f"the process that is forked: ready after {time.monotonic() - began:.1f} s")
        for extra in ("none", "timm"):
            found = [[seconds(extra, environment, side) for side in (None, parent)] for _ in range(rounds)]
            for i, unit in enumerate(("s", "CPU s")):
                plain, warm = (statistics.median(pair[side][i] for pair in found) for side in (0, 1))
                said = f"{plain:.2f} {unit} by itself, {warm:.3f} {unit} forked, ratio {plain / warm:.0f}"
                print(f"{'with timm' if extra == 'timm' else 'without timm':13} {said}", flush=True)


if __name__ == "__main__":
    main()
