"""Slices per second that one core reads from a slice store, compared with the AnyAD release's tree of PNGs.

Run ``python benchmarks/store.py`` for a small phantom, and ``python benchmarks/store.py --data brats2018=DIR`` for your
own data set. The same slices are read in the same order, with one thread, files in the page cache, and three sequences:

* ``store``: :meth:`SliceStore.read`, slices in the source's units;
* ``store, scaled``: the input of a method, each sequence divided by its scan's percentile and clipped;
* ``PNG, decoded``: three PNGs decoded, min-max scaled, stacked as an 8-bit image;
* ``PNG, loader``: that, and the rest of the release's loader: resize to 448, central 392, tensor, normalisation.

Every way is timed in several rounds, in turn, and the median of CPU seconds counts; ratios are to ``PNG, loader``
and to ``PNG, decoded``.
"""

# ruff: noqa: E402 (thread counts must be set before numpy and torch are imported)
from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and torch are imported

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

SEQUENCES = ("flair", "t1", "t2")
BATCH = 16
TRANSFORM = v2.Compose(
    [
        v2.Resize((448, 448)),
        v2.CenterCrop(392),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def stacked(paths: tuple[Path, ...]) -> Image.Image:
    """Return three PNGs as one colour image, as the release's data set does."""
    planes = []
    for path in paths:
        plane = np.array(Image.open(path).convert("L"), dtype=np.float32)
        plane = (plane - plane.min()) / (plane.max() - plane.min() + 1e-8)
        planes.append((plane * 255).astype(np.uint8))
    return Image.fromarray(np.stack(planes, axis=-1))


def ways(store: Any, png: Path) -> tuple[dict[str, Callable[[np.ndarray], Any]], np.ndarray]:
    """Return each way to read slices of the store, and the indices that the tree of PNGs has in full."""
    from anyadbench.data.slices.rules import IntensityRules
    from anyadbench.engine.slice_reader import SliceReader

    files: dict[int, tuple[Path, ...]] = {}
    folders = [png / part for part in ("train", "test/NORMAL", "test/ABNORMAL")]
    rows = {(entry.scan, entry.slice): int(entry.row) for entry in store.slices.itertuples()}
    for folder in folders:
        for first in sorted((folder / SEQUENCES[0]).glob("*.png")):
            paths = tuple(folder / name / first.name for name in SEQUENCES)
            scan, _, number = first.stem.rpartition("_slice")
            if all(path.is_file() for path in paths):
                files[rows[scan, int(number)]] = paths
    reader = SliceReader(store, SEQUENCES, IntensityRules())
    return {
        "store": lambda batch: store.read(batch, SEQUENCES),
        "store, scaled": reader.read,
        "PNG, decoded": lambda batch: [stacked(files[int(row)]) for row in batch],
        "PNG, loader": lambda batch: torch.stack([TRANSFORM(stacked(files[int(row)])) for row in batch]),
    }, np.array(sorted(files))


def compare(store: Any, png: Path, slices: int, rounds: int) -> dict[str, float]:
    """Return slices per second of each way."""
    reads, rows = ways(store, png)
    if not len(rows):
        raise SystemExit("no slice has FLAIR, T1 and T2")
    order = np.random.default_rng(0).permutation(np.resize(rows, max(slices, BATCH)))
    batches = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
    seconds: dict[str, list[float]] = {name: [] for name in reads}
    for number in range(rounds + 1):
        for name, read in reads.items():
            started = time.process_time()
            for batch in batches:
                read(batch)
            if number:  # the first round fills the page cache
                seconds[name].append(time.process_time() - started)
    return {name: len(batches) * BATCH / statistics.median(times) for name, times in seconds.items()}


def prepared(dataset: str, source: Path | None, folder: Path) -> Any:
    """Return the store of a data set or, without a folder, of a small phantom."""
    from anyadbench.data.phantom import PhantomSpec, generate
    from anyadbench.data.store.build import prepare
    from anyadbench.plugins import find_layout

    tree = source or generate(folder / "tree", PhantomSpec(subjects=4))
    return prepare(tree, find_layout(dataset), folder / "store")


def exported(store: Any, folder: Path) -> Path:
    """Write a store as the release's tree."""
    from anyadbench.data.export_png import export_png
    from anyadbench.data.slices.rules import SliceRules, SplitRules
    from anyadbench.data.slices.selection import select_slices, split_store

    split = split_store(store, SplitRules(), SEQUENCES)
    return export_png(store, folder / "png", select_slices(store, SliceRules(match_height=False), split)).out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--data", action="append", metavar="NAME=DIR", help="data set; may be repeated")
    parser.add_argument("--slices", type=int, default=320, help="slices per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [item.partition("=")[::2] for item in options.data or ["phantom="]]
    for dataset, source in chosen:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ANYADBENCH_CACHE"] = folder
            store = prepared(dataset, Path(source) if source else None, Path(folder))
            speeds = compare(store, exported(store, Path(folder)), options.slices, options.rounds)
        print(f"{dataset}: slices of {store.shape[0]} x {store.shape[1]} pixels, three sequences, one core")
        for name, speed in speeds.items():
            loader, decoded = speed / speeds["PNG, loader"], speed / speeds["PNG, decoded"]
            print(f"  {name:14} {speed:9.0f} slices/s  {loader:6.1f} x loader  {decoded:6.1f} x decoding")


if __name__ == "__main__":
    main()
