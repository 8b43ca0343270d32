"""Time of the commands that list or help, compared with starting Python alone.

python benchmarks/cli_start.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["methods"], ["protocols"], ["datasets"], ["plugins"])


def median_seconds(command: list[str], runs: int = 9) -> float:
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first fills the file cache


def main() -> None:
    alone = median_seconds([sys.executable, "-c", "pass"])
    print(f"{'python -c pass':20} {alone:.3f} s")
    for arguments in COMMANDS:
        seconds = median_seconds([sys.executable, "-m", "anyadbench", *arguments])
        print(f"{'anyadbench ' + arguments[0]:20} {seconds:.3f} s, {seconds / alone:.1f} times Python alone")


if __name__ == "__main__":
    main()
