"""The axis of encoders: every encoder that is installed here, under methods without gradient training.

``python benchmarks/encoders.py --runs DIR`` runs DINO-DPMM with each transformer and PatchCore per sequence set with
each convolutional network whose weights are on this machine, on ``phantom-dev`` under the budget ``demo``, and prints
the mean pixel AP over subsets by encoder and method, with 95 % intervals. ``--method`` adds others, ``--protocol`` and
``--data`` take other data. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from itertools import product
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
    parser.add_argument("--protocol", default=PROTOCOL)
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--budget", default=BUDGET)
    arguments = parser.parse_args()
    here = [str(row["name"]) for row in describe(ENCODERS) if row["available"]]
    for method in (*METHODS, *arguments.method):
        for encoder in here:
            if suits(method, encoder, arguments.budget):
                run(arguments, method, encoder)
    show(arguments.runs)


def suits(method: str, encoder: str, budget: str) -> bool:
    """Return whether a method takes an encoder; print why not."""
    descriptor, _ = find_method(method)
    try:
        check_encoder(descriptor, descriptor.resolve(budget, {"encoder": encoder}))
    except UserError as error:
        print(error, file=sys.stderr)
        return False
    return True


def run(arguments: argparse.Namespace, method: str, encoder: str) -> None:
    """Run one method with one encoder."""
    options = ["--method", method, "--protocol", arguments.protocol, "--budget", arguments.budget]
    options += ["--runs", str(arguments.runs), "--weights", "package"]
    options += [word for seed in arguments.seed or ["0"] for word in ("--seed", seed)]
    options += [word for folder in arguments.data for word in ("--data", folder)]
    options += ["--set", f"{method}.encoder={encoder}", "--keep-maps", "none"]
    subprocess.run([sys.executable, "-m", "anyadbench", "run", *options], check=True, stdout=sys.stderr)


def show(runs: Path) -> None:
    """Print a row per method and encoder, as CSV."""
    print("method,encoder,test,metric,mean,interval")
    for board in load_boards(runs):
        measured = [variant for variant in board.variants if variant.kind == "measured"]
        for variant, test in product(measured, board.tests):
            item = board.summary(variant.key, test, board.headline)
            if item is not None:
                cells = [variant.method.name, variant_encoder(variant), test, board.headline, decimal(item.mean)]
                print(*cells, f'"{span(*item.mean_interval)}"', sep=",")


if __name__ == "__main__":
    main()
