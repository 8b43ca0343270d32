"""The axis of encoders: every encoder that is installed here, under methods without gradient training.

``python benchmarks/encoders.py --runs DIR`` runs DINO-DPMM with each transformer and PatchCore per sequence set with
each convolutional network whose weights are on this machine, on ``phantom-dev`` under the budget ``demo``, and prints
the mean pixel AP over subsets by encoder and method, with 95 % intervals. ``--method`` adds others. Nothing is
downloaded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.encoders.table import variant_encoder
from anyadbench.boards.render.text import decimal, span
from anyadbench.errors import UserError
from anyadbench.methods.encoders import check_encoder
from anyadbench.plugins import find_method
from anyadbench.weights import describe
from anyadbench.weights.encoders import ENCODERS

METHODS = ("dpmm", "anypatchcore")
PROTOCOL, BUDGET = "phantom-dev", "demo"


def main() -> None:
    """Run what is missing in the runs folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs-encoders"))
    parser.add_argument("--method", action="append", default=[])
    parser.add_argument("--seed", action="append", default=[])
    arguments = parser.parse_args()
    here = [str(row["name"]) for row in describe(ENCODERS) if row["available"]]
    for method in (*METHODS, *arguments.method):
        for encoder in here:
            if suits(method, encoder):
                run(arguments.runs, method, encoder, arguments.seed or ["0"])
    show(arguments.runs)


def suits(method: str, encoder: str) -> bool:
    """Return whether a method takes an encoder; print why not."""
    descriptor, _ = find_method(method)
    try:
        check_encoder(descriptor, descriptor.resolve(BUDGET, {"encoder": encoder}))
    except UserError as error:
        print(error, file=sys.stderr)
        return False
    return True


def run(runs: Path, method: str, encoder: str, seeds: list[str]) -> None:
    """Run one method with one encoder."""
    options = ["--method", method, "--protocol", PROTOCOL, "--budget", BUDGET, "--runs", str(runs)]
    options += [word for seed in seeds for word in ("--seed", seed)]
    options += ["--set", f"{method}.encoder={encoder}", "--keep-maps", "none"]
    subprocess.run([sys.executable, "-m", "anyadbench", "run", *options], check=True, stdout=sys.stderr)


def show(runs: Path) -> None:
    """Print a row per method and encoder, as CSV."""
    (board,) = load_boards(runs, PROTOCOL)
    print("method,encoder,test,metric,mean,interval")
    for variant in board.variants:
        for test in board.tests:
            item = board.summary(variant.key, test, board.headline)
            if item is not None and variant.kind == "measured":
                cells = [variant.method.name, variant_encoder(variant), test, board.headline, decimal(item.mean)]
                print(*cells, f'"{span(*item.mean_interval)}"', sep=",")


if __name__ == "__main__":
    main()
