"""How long it takes to build a board from many cells, and that it needs no torch.

``python benchmarks/boards.py --cells 500`` makes cells as the runner leaves them (with values by subject, without
maps), then builds CSV, Markdown and the HTML page in a separate process, as ``anyadbench leaderboard build`` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHILD = """
import json, sys, time
begin = time.perf_counter()
from pathlib import Path
from anyadbench.boards import build_boards
built = build_boards(Path(sys.argv[1]), Path(sys.argv[2]))
seconds = time.perf_counter() - begin
size = sum(path.stat().st_size for path in built[0].folder.iterdir())
cpu = time.process_time()  # with Python's start, of all threads
print(json.dumps({"seconds": seconds, "cpu": cpu, "torch": "torch" in sys.modules, "megabytes": size / 1e6}))
"""


def main() -> None:
    """Make the cells, build the board, and print a line for each repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5, help="cells of each method")
    parser.add_argument("--protocols", type=int, default=5, help="number of boards to spread the cells over")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from boards_fixture import FakeMethod, write_cell

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        methods = max(1, arguments.cells // (arguments.seeds * arguments.protocols))
        for p in range(arguments.protocols):
            for m in range(methods):
                method = FakeMethod(f"m{m}", f"Method {m}", 0.5 + 2 * m / methods, maps=False, replicates=True)
                for seed in range(arguments.seeds):
                    write_cell(folder / "runs/cells", method, seed, protocol=f"protocol-{p}")
        count = arguments.protocols * methods * arguments.seeds
        for _ in range(arguments.repeat):
            begin = time.perf_counter()
            command = [sys.executable, "-c", CHILD, str(folder / "runs"), str(folder / "out")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            whole = time.perf_counter() - begin
            found = json.loads(done.stdout)
            print(
                f"{count} cells, {arguments.protocols} boards: {found['seconds']:.2f} s ({whole:.2f} s with Python's "
                f"start; {found['cpu']:.2f} CPU s), torch {'loaded' if found['torch'] else 'not loaded'}"
            )


if __name__ == "__main__":
    main()
