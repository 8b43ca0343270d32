"""Which rule brings two scanners to one scale best: the phantom's, and that of the shifted phantom.

``python benchmarks/scanners.py --runs DIR`` trains a method (a per-pixel Gaussian by default) on the phantom under each
rule of ``[intensity] harmonise``, on three splits of its subjects, tests it on the other scanner and on the phantom's
own test subjects, and prints the mean over splits and subsets with the smallest and largest split. Prints CSV.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from anyadbench.data.slices.rules import HARMONISE
from anyadbench.protocols import TestSet, find_protocol
from anyadbench.protocols.writer import to_toml
from anyadbench.results.read import read_cells
from anyadbench.sequences import parse_subset

SPLITS = ("a", "b", "c")
METRICS = ("pixel_ap", "pixel_auroc", "image_auroc")
SUBSETS = tuple(map(parse_subset, ("F", "T1", "T2", "F+T1+T2")))
MOST_TRAIN, MOST_TEST = 120, 6
"""Training slices, and abnormal test slices per subject: the rules are compared, not the method."""


def write_protocol(folder: Path, rule: str, salt: str) -> Path:
    """Write the protocol of one rule and one split."""
    base = find_protocol("phantom-shift")
    protocol = replace(
        base,
        name=f"{rule}-{salt}",
        subsets=SUBSETS,
        as_available=False,
        intensity=replace(base.intensity, harmonise=rule),
        split=replace(base.split, salt=salt),
        slices=replace(base.slices, max_train=MOST_TRAIN, max_test=MOST_TEST),
        tests=(*base.tests, TestSet("phantom", "phantom")),
    )
    path = folder / f"{protocol.name}.toml"
    path.write_text(to_toml(protocol), encoding="utf-8")
    return path


def main() -> None:
    """Run what is missing in the runs folder, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs-scanners"))
    parser.add_argument("--method", default="pixelstats")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    for salt in SPLITS:
        for rule in HARMONISE:
            path = write_protocol(arguments.runs, rule, salt)
            options = ["--method", arguments.method, "--protocol", str(path), "--runs", str(arguments.runs)]
            command = [sys.executable, "-m", "anyadbench", "run", *options, "--keep-maps", "none"]
            subprocess.run(command, check=True, stdout=sys.stderr)
    found: dict[tuple[str, str, str], dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for record in read_cells(arguments.runs):
        if record.result is not None:
            rule, salt = record.result.protocol.name.rsplit("-", 1)
            for row in record.result.rows:
                values = {name: float(row.metrics[name] or 0) for name in METRICS}
                found[row.test, record.result.method.name, rule][salt].append(values)
    print("test,method,rule," + ",".join(f"{name},{name}_lowest,{name}_highest" for name in METRICS))
    for (test, method, rule), splits in sorted(found.items()):
        cells = []
        for name in METRICS:
            means = [sum(row[name] for row in rows) / len(rows) for rows in splits.values()]
            cells += [f"{value:.3f}" for value in (sum(means) / len(means), min(means), max(means))]
        print(",".join([test, method, rule, *cells]))


if __name__ == "__main__":
    main()
