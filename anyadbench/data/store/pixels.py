"""The pixels of a store: for each slice and sequence one compressed block, which holds the box around the brain.

``images.blosc`` and ``masks.blosc`` are such blocks one after the other, ``index.npy`` (int64, N×(S+1)×7, the mask
last) says where each one is, which box of the slice it holds, and the value of the other pixels. A plane of one value,
a sequence that a scan lacks for example, has no block. LZ4 with the bytes shuffled takes 14 % of the space of plain
arrays and unpacks at the speed of a copy; ``benchmarks/store.py`` compares.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs.blosc
import numpy as np

from anyadbench.data.store.npy import load_npy, write_array
from anyadbench.data.trees.problems import BadFile
from anyadbench.errors import UserError
from anyadbench.files import write_bytes

if TYPE_CHECKING:
    from jaxtyping import Int64, Shaped, UInt8, UInt16

IMAGES, MASKS, INDEX = FILES = ("images.blosc", "masks.blosc", "index.npy")
START, SIZE, TOP, LEFT, HEIGHT, WIDTH, FILL = range(7)
"""Columns of the index: place and length of the block in bytes, the box in pixels, and the value around it."""

COLUMNS = 7
REMEDY = "delete it and run `anyadbench data prepare` again"

# Each call unpacks by itself: blosc's pool of threads would outlive a fork and compete with the callers' own threads.
numcodecs.blosc.use_threads = False
_CODEC = numcodecs.blosc.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.blosc.SHUFFLE)


def pack(
    images: UInt16[np.ndarray, "n S H W"], masks: UInt8[np.ndarray, "n H W"], fills: Sequence[int]
) -> tuple[bytes, bytes, Int64[np.ndarray, "n T 7"]]:
    """Compress slices.

    Args:
        images: Their values.
        masks: Their regions.
        fills: For each sequence, the value that is left out around the box.

    Returns:
        The blocks of the images and of the masks, and their index, whose places count from 0.
    """
    index = np.zeros((len(images), images.shape[1] + 1, COLUMNS), np.int64)
    index[:, :-1, FILL] = fills
    packed: tuple[list[bytes], list[bytes]] = ([], [])
    used = [0, 0]
    surround = np.asarray(fills, images.dtype)[:, None, None]
    for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
        both = [(image, (image != surround).any(axis=0)), (mask[None], mask != 0)]
        for which, (planes, shown) in enumerate(both):
            box = _box(shown)
            first = 0 if which == 0 else images.shape[1]
            for channel, plane in enumerate(planes if box else (), first):
                top, left, height, width = box
                cut = np.ascontiguousarray(plane[top : top + height, left : left + width])
                block: bytes = _CODEC.encode(cut)
                index[k, channel, :FILL] = used[which], len(block), *box
                packed[which].append(block)
                used[which] += len(block)
    return b"".join(packed[0]), b"".join(packed[1]), index


def _box(shown: Any) -> tuple[int, ...]:
    """Return top, left, height and width of the box around what is shown; empty if nothing is."""
    rows, columns = shown.any(axis=1), shown.any(axis=0)
    if not rows.any():
        return ()
    top, left = int(rows.argmax()), int(columns.argmax())
    return top, left, len(rows) - int(rows[::-1].argmax()) - top, len(columns) - int(columns[::-1].argmax()) - left


class Pixels:
    """The planes of one file of blocks, indexed like an array that is mapped into memory.

    Attributes:
        path: The file.
        shape: N×S×H×W for images, N×H×W for masks.
        dtype: Type of the values.
    """

    def __init__(self, path: Path, index: Int64[np.ndarray, "N C 7"], shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._index = index
        self._rows = np.arange(shape[0])
        self._bytes = memoryview(_mapped(path))
        end = int((index[..., START] + index[..., SIZE]).max(initial=0))
        if len(self._bytes) != end:
            raise UserError(f"{path} is damaged ({len(self._bytes)} bytes where {end} were written); {REMEDY}.")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def block(self, row: int, channel: int = 0) -> tuple[Shaped[np.ndarray, "h w"] | None, slice, slice, int]:
        """Return what a plane shows: the values in a box, its rows and columns, and the value around it.

        The values are ``None`` if the plane has one value.

        Raises:
            UserError: If the block cannot be unpacked.
        """
        start, size, top, left, height, width, fill = self._index[row, channel].tolist()
        if not size:
            return None, slice(0), slice(0), fill
        values = np.empty((height, width), self.dtype)
        try:
            numcodecs.blosc.decompress(self._bytes[start : start + size], values)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.path} was changed after it was made (slice {row}: {error}); delete the store and prepare it "
                "again."
            ) from None
        return values, slice(top, top + height), slice(left, left + width), fill

    def __getitem__(self, place: Any) -> Any:
        rows, *rest = place if isinstance(place, tuple) else (place,)
        chosen = self._rows[rows]
        channels: Any = range(self._index.shape[1])
        alone = self.ndim == 3
        if self.ndim == 4 and rest and isinstance(rest[0], int | np.integer):
            channels, alone = (range(self.shape[1])[rest.pop(0)],), True
        out = np.empty((*chosen.shape, len(channels), *self.shape[-2:]), self.dtype)
        planes = out.reshape(-1, *self.shape[-2:])
        at = 0
        for row in np.ravel(chosen).tolist():
            for channel in channels:
                values, y, x, fill = self.block(row, channel)
                planes[at] = fill
                if values is not None:
                    planes[at, y, x] = values
                at += 1
        whole = out[..., 0, :, :] if alone else out
        return whole[(*[slice(None)] * chosen.ndim, *rest)] if rest else whole

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def open_pixels(folder: Path, slices: int, sequences: int, shape: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Open the images and masks of a store.

    Raises:
        UserError: If a file is missing, damaged, or holds another number of slices.
    """
    path = folder / INDEX
    try:
        index = load_npy(path)
    except BadFile as bad:
        raise UserError(f"{path} is damaged (it {bad.cause}); {REMEDY}.") from bad
    if index.shape != (slices, sequences + 1, COLUMNS) or index.dtype != np.int64:
        raise UserError(f"The arrays of the store {folder} do not have the shape given in store.json; {REMEDY}.")
    return (
        Pixels(folder / IMAGES, index[:, :sequences], (slices, sequences, *shape), np.uint16),
        Pixels(folder / MASKS, index[:, sequences:], (slices, *shape), np.uint8),
    )


def rewrite(folder: Path, images: UInt16[np.ndarray, "N S H W"], masks: UInt8[np.ndarray, "N H W"]) -> None:
    """Replace the pixels of a store; its tables stay, so that it counts as changed. For tests of what must be noticed.

    The values left out around the boxes stay those of each scan.
    """
    old = np.load(folder / INDEX, allow_pickle=False)
    parts = [pack(images[k : k + 1], masks[k : k + 1], old[k, :-1, FILL].tolist()) for k in range(len(images))]
    index = np.concatenate([part[2] for part in parts])
    for which, columns in ((0, slice(None, -1)), (1, slice(-1, None))):
        sizes = np.array([len(part[which]) for part in parts])
        index[:, columns, START] += (np.cumsum(sizes) - sizes)[:, None]
        write_bytes(folder / FILES[which], b"".join(bytes(part[which]) for part in parts))
    write_array(folder / INDEX, index)


def _mapped(path: Path) -> mmap.mmap | bytes:
    try:
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {REMEDY}.") from error
