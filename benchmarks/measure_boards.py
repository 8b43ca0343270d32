"""Measure the boards that this project publishes, as far as the time allows, and publish what is finished.

Every run goes through ``anyadbench run``: finished cells are not repeated, fits are shared between protocols, and a
second call continues where the first one stopped. The group ``table`` has the methods of the comparison table, which
are measured with several seeds on ``phantom-7subsets``; ``others`` has anomalib's models and the rivals, with one seed.
After ``--minutes`` the running cells are interrupted. Finished cells are then published to ``--out`` by as many
processes as there are slots; boards are built from them with ``anyadbench leaderboard build``.

    python benchmarks/measure_boards.py --runs runs --out leaderboards/results
    python benchmarks/measure_boards.py --runs runs --out published --device cuda --slots 14 --threads 1 --minutes 6
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from anyadbench.boards.verify.publish import publish_cells
from anyadbench.errors import UserError
from anyadbench.results.read import read_cells

GROUPS = {"table": ("all",), "others": ("anomalib:*", "ddpm*", "unitransad*", "unimmad*")}
STAGES = (
    "phantom-7subsets:table", "phantom-7subsets:others", "phantom-healthy:table", "phantom-shift:table",
    "phantom-15subsets:table", "phantom-shift:others", "phantom-healthy:others", "phantom-15subsets:others",
)  # fmt: skip
"""In the order in which they run: if time ends, the last are missing."""

STOPPING = 30.0
"""Seconds that interrupted cells have to write their checkpoints."""


def command(stage: str, options: argparse.Namespace) -> list[str]:
    """Return the command that measures one group of methods on one protocol."""
    protocol, _, group = stage.partition(":")
    several = group == "table" and protocol == "phantom-7subsets"
    seeds = range(options.seeds if several else 1)
    methods = [f"--method={method}" for method in GROUPS[group]]
    return [
        sys.executable, "-m", "anyadbench", "run", *methods, f"--protocol={protocol}", *(f"--seed={n}" for n in seeds),
        f"--runs={options.runs}", f"--device={options.device}", f"--precision={options.precision}",
        f"--slots={options.slots}", "--keep-maps=none", *([f"--threads={options.threads}"] * bool(options.threads)),
    ]  # fmt: skip


def run(stage: str, options: argparse.Namespace, ends: float) -> str:
    """Run one stage until it or the time is over; return what is not complete about it."""
    if time.monotonic() >= ends:
        return f"{stage}: not started, the time is up"
    process = subprocess.Popen(command(stage, options), stdout=subprocess.DEVNULL)
    try:
        code = process.wait(ends - time.monotonic() if options.minutes else None)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
        return f"{stage}: interrupted, the time is up"
    return f"{stage}: exit status {code}" if code else ""


def published(runs: Path, out: Path, protocol: str, method: str) -> str:
    """Publish the cells of one method on one protocol; return why that is not possible."""
    try:
        publish_cells(runs, out, [protocol], [method])
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    """Measure, publish, and name what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="folder of results that finished cells are published to")
    parser.add_argument("--stage", action="append", metavar="PROTOCOL:GROUP", help="in the order given; by default all")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the table's methods on phantom-7subsets")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads per cell; by default the protocol's")
    parser.add_argument("--slots", type=int, default=1, help="cells at once")
    parser.add_argument("--minutes", type=float, default=0.0, help="time for all cells; 0 for no limit")
    options = parser.parse_args()
    ends = time.monotonic() + (60 * options.minutes or 1e9)
    problems = []
    for stage in options.stage or STAGES:
        began = time.monotonic()
        problems.append(run(stage, options, ends))
        print(f"{stage}: {time.monotonic() - began:.0f} s {problems[-1]}", flush=True)
    if options.out:
        done = [record for record in read_cells(options.runs) if record.result is not None]
        pairs = sorted({(record.protocol, record.method) for record in done})
        with ProcessPoolExecutor(options.slots) as pool:
            jobs = [pool.submit(published, options.runs, options.out, *pair) for pair in pairs]
            problems += [job.result() for job in jobs]
        print(f"published {len(done)} cells")
    if missing := [problem for problem in problems if problem]:
        sys.exit("\n".join(missing))


if __name__ == "__main__":
    main()
