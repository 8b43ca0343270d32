"""Slices per second that one core reads from a slice store, compared with the AnyAD release's tree of PNGs.

Run ``python benchmarks/store.py`` for a small phantom, and ``python benchmarks/store.py --data brats2018=DIR`` for your
own data set. The same slices are read in the same order, with one thread, files in the page cache, and three sequences:

* ``store``: :meth:`SliceStore.read`, slices in the source's units;
* ``store, scaled``: the input of a method, each sequence divided by its scan's percentile and clipped;
* ``PNG, decoded``: three PNGs decoded, min-max scaled, stacked as an 8-bit image;
* ``PNG, loader``: that, and the rest of the release's loader: resize to 448, central 392, tensor, normalisation.

Every way is timed in several rounds, in turn, and the median of CPU seconds counts; ratios are to ``PNG, loader``
and to ``PNG, decoded``.

``--prepare SCANS`` instead makes a store of that many scans of the size of BraTS, side by side with the plain arrays of
``plain_store.py``: CPU seconds of one scan, bytes stored and written, and the time to read random slices of four
sequences. With ``--data NAME=DIR`` it takes the scans of that folder, which must have all four sequences.
"""

# ruff: noqa: E402 (thread counts must be set before numpy and torch are imported)
from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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


def against_plain(tree: Path, dataset: str, folder: Path, rounds: int) -> None:
    """Compare preparing and reading with a store of plain arrays."""
    from plain_store import read_plain

    from anyadbench.data.store.store import open_store

    scans = len(list(tree.glob("*/*")))
    seconds: dict[str, list[float]] = {"plain": [], "store": []}
    for number in range(rounds):
        took, stored, written = alone(plain_arrays, tree, folder / f"plain-{number}")
        seconds["plain"].append(took / scans)
        seconds["store"].append(alone(store_of, tree, dataset, folder / f"store-{number}") / scans)
    store = open_store(folder / f"store-{rounds - 1}")
    plain, ours = (statistics.median(seconds[name]) for name in ("plain", "store"))
    print(f"{scans} scans: {plain:.2f} CPU-s a scan as plain arrays, {ours:.2f} as a store, ratio {plain / ours:.1f}")
    size = sum(path.stat().st_size for path in store.path.iterdir())
    print(
        f"plain {stored / 1e6:.1f} MB, {written / 1e6:.1f} MB written; store {size / 1e6:.1f} MB, written once "
        f"({size / stored:.1%}); 285 such scans: {285 * size / scans / 1e9:.2f} GB"
    )
    images = np.load(folder / "plain-0/images.npy", mmap_mode="r")
    rows = np.random.default_rng(0).permutation(len(images))
    names = ("flair", "t1", "t1ce", "t2")
    ways = {"plain": lambda batch: read_plain(images, store, batch), "store": lambda batch: store.read(batch, names)[0]}
    reading: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(5 * rounds + 1):
        for name, read in ways.items():
            started = time.process_time()
            for i in range(0, min(len(rows), 320), BATCH):
                read(rows[i : i + BATCH])
            if number:
                reading[name].append(time.process_time() - started)
    assert all(np.array_equal(ways["plain"](rows[i : i + 1]), ways["store"](rows[i : i + 1])) for i in range(40))
    plain, ours = (statistics.median(reading[name]) / min(len(rows), 320) * 1e6 for name in ("plain", "store"))
    print(f"a random slice of four sequences: plain {plain:.0f} us, store {ours:.0f} us, ratio {plain / ours:.2f}")


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own, as a command is: memory that another way has freed would speed it up."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def plain_arrays(tree: Path, out: Path) -> tuple[float, int, int]:
    """Make a store of plain arrays; return its CPU seconds, its bytes and the bytes written for it."""
    from plain_store import prepare_plain

    started = time.process_time()
    stored, written = prepare_plain(tree, out)
    return time.process_time() - started, stored, written


def store_of(tree: Path, dataset: str, out: Path) -> float:
    """Make a store with one worker, a first time to load every library; return the CPU seconds of the second time."""
    from anyadbench.data.store.build import prepare
    from anyadbench.plugins import find_layout

    layout = find_layout(dataset)
    prepare(tree, layout, out.with_name("first"), workers=1)
    shutil.rmtree(out.with_name("first"))
    started = time.process_time()
    prepare(tree, layout, out, workers=1)
    return time.process_time() - started


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
    parser.add_argument("--prepare", type=int, metavar="SCANS", help="compare preparing with plain arrays")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.prepare is not None:
        from plain_store import generate

        dataset, _, source = (options.data or ["brats2018="])[0].partition("=")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["ANYADBENCH_CACHE"] = folder
            tree = Path(source) if source else generate(Path(folder) / "tree", options.prepare)
            against_plain(tree, dataset, Path(folder), min(options.rounds, 3))
        return
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
