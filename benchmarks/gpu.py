"""What one machine does: a training step, preparing, scoring, feeding, resuming and bfloat16, with ratios; no network.

On a GPU it takes AnyAD's default form with ViT-B/14 at 392 px, and scans of the size of BraTS. Each part runs in a
process of its own: an error or a setting of one (cuBLAS reads the workspace of deterministic products once) does not
reach the next. What is printed is also written to ``--out``, line by line. After ``--minutes`` the part that runs is
stopped, and the others are skipped; the end names them. ``--tiny`` shows on a CPU that every part runs; its figures
mean nothing.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --tiny
    python benchmarks/gpu.py --only resuming
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Timer

PARTS = ("steps", "preparing", "scoring", "feeding", "resuming", "precision")
"""In the order in which they run: if time ends, the last are missing."""

LEAST = 20.0
"""Seconds that must be left for a part to be started."""


def measure(part: str, tiny: bool, work: Path) -> None:
    """Print the figures of one part, in this process."""
    import gpu_data
    import gpu_training
    import torch
    from gpu_common import TINY, Sizes

    from anyadbench.engine.numerics import Policy, apply_policy

    gpu = torch.cuda.is_available()
    sizes = TINY if tiny else Sizes()
    policy = Policy("cuda" if gpu else "cpu", "bfloat16", threads=torch.get_num_threads() if gpu else 1)
    policy = replace(policy, deterministic=part == "resuming", blocks=gpu and part != "resuming")
    apply_policy(policy)
    device = torch.cuda.get_device_name() if gpu else "CPU"
    print(f"{part} on {device}, torch {torch.__version__}, {sizes.architecture}")
    home = gpu_data if part in ("preparing", "scoring", "feeding") else gpu_training
    getattr(home, part)(sizes, policy, work)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a part with all that it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def run_part(command: list[str], ends: float, say: Callable[[str], None]) -> str:
    """Run one part and pass its lines on; return why it is not complete, or nothing if it is."""
    left = ends - time.monotonic()
    if left < LEAST:
        return "skipped, the time is up"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
    timer = Timer(left, end, [process])
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            say(line.rstrip("\n"))
        code = process.wait()
    finally:
        timer.cancel()
        end(process)
    if code and time.monotonic() >= ends:
        return "stopped, the time is up"
    return f"failed with exit status {code}" if code else ""


def run(options: argparse.Namespace, work: Path) -> list[str]:
    """Run the parts in turn; return which are not complete, and why."""
    began, missing = time.monotonic(), []
    with options.out.open("w", encoding="utf-8") as file:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        for part in options.only or PARTS:
            start = time.monotonic()
            command = [sys.executable, "-u", __file__, "--part", part, "--work", str(work), *["--tiny"] * options.tiny]
            if problem := run_part(command, began + 60 * options.minutes, say):
                missing.append(f"{part} ({problem})")
            now = time.monotonic()
            say(f"[{now - began:.0f} s] {part}: {problem.upper() or f'{now - start:.0f} s'}")
        if missing:
            say(f"NOT MEASURED: {'; '.join(missing)}")
    return missing


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small sizes, on a CPU too")
    parser.add_argument("--minutes", type=float, default=9.5, help="time for all parts together")
    parser.add_argument("--out", type=Path, default=Path("gpu-figures.txt"), help="file of what is printed")
    parser.add_argument("--only", action="append", choices=PARTS, help="leave the other parts out; may be repeated")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        try:
            measure(options.part, options.tiny, options.work)
        except Exception as error:
            print(f"{options.part}: {type(error).__name__}: {' '.join(str(error).split())[:500]}")
            traceback.print_exc()
            sys.exit(1)
        return
    if not options.tiny:
        import torch

        if not torch.cuda.is_available():
            parser.error("torch finds no GPU here; give --tiny to see that every part runs")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the part that runs ends too
    with tempfile.TemporaryDirectory() as folder:
        if run(options, Path(folder)):
            sys.exit(1)


if __name__ == "__main__":
    main()
