"""How near the phantom comes to real scans: the same figures of both, side by side, with a verdict for each.

``ANYADBENCH_SHARED=DIR python benchmarks/phantom_realism.py`` measures the real patients below ``DIR/data``
(``brats2018-mini`` and ``mslub``) and subjects of a phantom (``--phantom``, ``--subjects``). A figure of the phantom is
the median over its subjects; it is ``inside`` if it lies within the range of the real patients. The distance between
histograms is that of one patient to the mean of the real ones, the patient left out (1-Wasserstein, in units of white
matter).
"""

# ruff: noqa: E402 (thread counts must be set before numpy is imported)
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from realism_figures import Measured, Patient, measure

from anyadbench.data.phantom import synthesise
from anyadbench.data.phantom.embedded import EMBEDDED
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.survey import discover
from anyadbench.sequences import COMMON

REAL = {"brats2018": "brats2018-mini", "mslub": "mslub"}
"""Folder of each real data set below ``data``."""

HISTOGRAM = "histogram, distance"


def real_patients(shared: Path) -> Iterator[Patient]:
    """Yield the real patients, read as the suite reads them."""
    for name, folder in REAL.items():
        layout = get_layout(name)
        for files in discover(shared / "data" / folder, layout):
            scan, problems = reader_of(layout).read_scan(files, layout)
            if scan is None:
                sys.exit(f"{files.scan} cannot be read: {problems[0]}; correct the file.")
            images = {key: volume.array.astype(np.float32) for key, volume in scan.volumes.items()}
            yield Patient(files.scan, images, scan.labels > 0, scan.grid.spacing)


def phantom_subject(name: str, number: int) -> Measured:
    """Measure one subject of an embedded phantom."""
    spec = EMBEDDED[name]
    volumes = synthesise(spec, number)
    images = {key: volumes[key].astype(np.float32) for key in COMMON if key in volumes}
    return measure(Patient(f"{name} {number}", images, volumes["seg"] > 0, spec.spacing))


def add_distances(real: list[Measured], phantom: list[Measured]) -> None:
    """Add the distance of each patient's histogram to the mean of the real ones."""
    for one in (*real, *phantom):
        for sequence, own in one.histograms.items():
            others = [other.histograms[sequence] for other in real if other is not one and sequence in other.histograms]
            if others:
                one.figures[sequence, HISTOGRAM] = float(np.abs(own - np.mean(others, axis=0)).mean())


def values(patients: list[Measured], key: tuple[str, str]) -> list[float]:
    """Return one figure of all patients that have it."""
    return [one.figures[key] for one in patients if key in one.figures]


def rows(real: list[Measured], phantom: list[Measured]) -> Iterator[tuple[str, ...]]:
    """Yield one line per figure: sequence, figure, real patients, their number, phantom, its quartiles, verdict."""
    found = {key for one in (*real, *phantom) for key in one.figures}
    names = list(dict.fromkeys(name for one in (*phantom, *real) for _, name in one.figures))
    for key in sorted(found, key=lambda key: (("", *COMMON).index(key[0]), names.index(key[1]))):
        ours, theirs = values(phantom, key), values(real, key)
        if not ours or not theirs:
            continue
        low, high = min(theirs), max(theirs)
        middle = float(np.median(ours))
        low = 0.0 if key[1] == HISTOGRAM else low  # nearer than real patients are to each other is no fault
        verdict = "inside" if low <= middle <= high else "BELOW" if middle < low else "ABOVE"
        quartiles = " to ".join(f"{v:.3g}" for v in np.quantile(ours, [0.25, 0.75]))
        yield key[0], key[1], f"{low:.3g} to {high:.3g}", str(len(theirs)), f"{middle:.3g}", quartiles, verdict


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--phantom", default="phantom", choices=sorted(EMBEDDED))
    parser.add_argument("--subjects", default="1-12", help="a range of numbers, e.g. 1-12")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    shared = os.environ.get("ANYADBENCH_SHARED", "")
    if not shared:
        sys.exit("ANYADBENCH_SHARED is not set; give it the folder that holds data/brats2018-mini and data/mslub.")
    first, _, last = options.subjects.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    with ProcessPoolExecutor(options.workers) as pool:
        theirs = list(pool.map(measure, real_patients(Path(shared))))
        ours = list(pool.map(phantom_subject, [options.phantom] * len(numbers), numbers))
    add_distances(theirs, ours)
    table = [("sequence", "figure", "real, range", "n", options.phantom, "quartiles", "verdict"), *rows(theirs, ours)]
    widths = [max(len(line[column]) for line in table) for column in range(7)]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    inside = sum(line[-1] == "inside" for line in table)
    print(f"\n{inside} of {len(table) - 1} figures lie within the range of the real patients.")


if __name__ == "__main__":
    main()
