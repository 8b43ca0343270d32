"""A store of plain arrays, as anyadbench made it before its pixels were compressed: what ``store.py`` compares with.

One thread: zlib's gzip, hashes of strided float32 copies, sorted percentiles, values encoded through int64, a part for
each scan in plain arrays, and these copied and hashed once more into the whole.

``python benchmarks/plain_store.py DIR --scans 32 --workers 16`` writes scans of the size of BraTS.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SEQUENCES = ("flair", "t1", "t1ce", "t2")
SHAPE = (240, 240, 155)
LANDMARKS = (1.0, *(10.0 * step for step in range(1, 10)), 99.8)


def generate(folder: Path, scans: int, shape: tuple[int, ...] = SHAPE, workers: int = 1) -> Path:
    """Write scans: an ellipsoid of smooth tissue with noise, four sequences, one lesion."""
    make = partial(one_scan, folder, shape)
    if workers < 2:
        list(map(make, range(scans)))
    else:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(make, range(scans)))
    return folder


def one_scan(folder: Path, shape: tuple[int, ...], number: int) -> None:
    """Write one scan."""
    from scipy.ndimage import zoom

    x, y, z = np.ogrid[tuple(slice(-1, 1, 1j * length) for length in shape)]
    brain = (x / 0.56) ** 2 + (y / 0.72) ** 2 + (z / 0.9) ** 2 < 1
    lesion = (x - 0.2) ** 2 + (y - 0.2) ** 2 + z**2 < 0.02
    rng = np.random.default_rng(number)
    name = f"Brats18_CBICA_G{number:02}_1"
    for kind in (*SEQUENCES, "seg"):
        if kind == "seg":
            values = (2 * lesion).astype(np.int16)
        else:
            tissue = zoom(rng.normal(400, 120, (24, 24, 16)), [a / b for a, b in zip(shape, (24, 24, 16), strict=True)])
            values = (np.clip(tissue + rng.normal(0, 12, shape), 1, 2000) * brain).astype(np.int16)
        path = folder / "HGG" / name / f"{name}_{kind}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), path)  # type: ignore[no-untyped-call]


def volume(path: Path) -> np.ndarray:
    """Return the values of a file, its first two axes turned as nibabel turns them for these files."""
    data = gzip.decompress(path.read_bytes())
    return np.asanyarray(nibabel.Nifti1Image.from_bytes(data).dataobj)


def facts(array: np.ndarray) -> list[Any]:
    """Return a sequence's hash, percentiles, mean and standard deviation."""
    digest = hashlib.sha256(np.ascontiguousarray(array, dtype=np.float32).data).hexdigest()
    positive = array[array > 0].astype(np.float64)
    brain = array[array != 0].astype(np.float64)
    tops = np.percentile(positive, (99.0, 99.5, 99.8, 99.9))
    return [digest, tops, np.percentile(brain, LANDMARKS), brain.mean(), brain.std()]


def one_part(folder: Path, part: Path) -> None:
    """Write one scan's part."""
    arrays = [volume(next(folder.glob(f"*_{name}.nii.gz"))) for name in SEQUENCES]
    labels = np.ascontiguousarray(volume(next(folder.glob("*_seg.nii.gz"))).transpose(2, 1, 0)).astype(np.uint8)
    for _ in range(2):  # once to check that there is some, once to cut
        shown = np.zeros(labels.shape, bool)
        for array in arrays:
            shown |= np.ascontiguousarray(array.transpose(2, 1, 0)) != 0
        keep = np.flatnonzero(shown.reshape(len(shown), -1).mean(axis=1) >= 0.01)
    images = np.zeros((len(keep), len(arrays), *labels.shape[1:]), np.uint16)
    for index, array in enumerate(arrays):
        (array == 0).mean(), ((array == 0) & (array != 0)).sum()  # is there a background, is there dust
        axial = np.ascontiguousarray(array.transpose(2, 1, 0))[keep]
        images[:, index] = (axial.astype(np.int64) + 0).astype(np.uint16)
        facts(array)
    np.save(part / "images.npy", images)
    np.save(part / "masks.npy", labels[keep])


def prepare_plain(tree: Path, out: Path, most: int | None = None) -> tuple[int, int]:
    """Make a store of plain arrays; return the bytes that it takes, and the bytes written for it.

    Args:
        tree: Folder of scans.
        out: Folder to write to.
        most: How many scans to take; all by default.
    """
    parts = []
    for folder in sorted(tree.glob("*/*"))[:most]:
        part = out / folder.name
        part.mkdir(parents=True)
        one_part(folder, part)
        parts.append(part)
    for name in ("images", "masks"):
        arrays = [np.load(part / f"{name}.npy", mmap_mode="r") for part in parts]
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        with (out / f"{name}.npy").open("wb") as file:
            header = {"descr": arrays[0].dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for array in arrays:
                for plane in array:
                    copied = np.array(plane)
                    hashlib.sha256(copied.data).hexdigest()
                    file.write(copied.data)
    stored = sum((out / f"{name}.npy").stat().st_size for name in ("images", "masks"))
    return stored, 2 * stored


def read_plain(images: np.ndarray, store: Any, rows: np.ndarray) -> np.ndarray:
    """Read four sequences of slices from plain arrays, as ``SliceStore.read`` did; the tables are the store's."""
    present = store.present(rows, SEQUENCES)
    values = np.zeros((len(rows), len(SEQUENCES), *images.shape[2:]), np.float32)
    owner = store.scan_of_row[rows]
    for place, name in enumerate(SEQUENCES):
        zeros, scales = (store.scans[f"{kind}_{name}"].to_numpy(np.float32)[owner] for kind in ("zero", "scale"))
        for i in np.flatnonzero(present[:, place]):
            out = values[i, place]
            out[...] = images[rows[i], place]
            if zeros[i]:
                out -= zeros[i]
            if scales[i] != 1:
                out *= scales[i]
    return values


def main() -> None:
    """Write scans."""
    parser = argparse.ArgumentParser(description=generate.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scans", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help="voxels")
    options = parser.parse_args()
    generate(options.folder, options.scans, tuple(options.shape), options.workers)


if __name__ == "__main__":
    main()
