"""Array files: equal arrays give equal bytes, and nothing in a file is trusted when it is read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from anyadbench.errors import UserError
from anyadbench.files import atomic_file

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 2**31
"""Unpacked size above which a file is refused."""


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], compress: bool = True, option: str = "--runs") -> None:
    """Write arrays as an npz file, compressed with LZMA, which takes half the space of numpy's own compression.

    Raises:
        UserError: If the disk is full or the file cannot be written.
    """
    import numpy as np

    method = zipfile.ZIP_LZMA if compress else zipfile.ZIP_STORED
    with atomic_file(path, option) as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, array in arrays.items():
            # The date of a ZipInfo is fixed, so equal arrays give equal files.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = method
            with archive.open(entry, "w", force_zip64=array.nbytes > 2**30) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


ODD = (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)
"""What odd contents of a well-formed file raise in code that expects others: the one list for all readers."""

A = TypeVar("A")
T = TypeVar("T")


def parsed_arrays(path: Path, source: str, limit: int, parse: Callable[[dict[str, np.ndarray]], T], fix: str) -> T:
    """Read an npz file and return what ``parse`` makes of its arrays.

    Args:
        path: The file.
        source: Its name in messages.
        limit: Unpacked size in bytes above which it is refused.
        parse: Raises whatever odd contents cause.
        fix: What to do about a damaged file, in the imperative.

    Raises:
        UserError: If it is too large or damaged.
    """
    return parsed(load_arrays(path, source, limit), parse, f"{source} is damaged; {fix}.")


def parsed(arrays: A, parse: Callable[[A], T], damaged: str) -> T:
    """Return what ``parse`` makes of the contents of a file.

    Args:
        arrays: Of the file.
        parse: Raises whatever odd contents cause.
        damaged: The sentence that says so.

    Raises:
        UserError: With this sentence, or the one that ``parse`` raises.
    """
    try:
        return parse(arrays)
    except ODD:
        raise UserError(damaged) from None


def load_arrays(path: Path, source: str, limit: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Read an npz file.

    Args:
        path: The file.
        source: Its name in messages.
        limit: Unpacked size in bytes above which it is refused.

    Raises:
        UserError: If it is too large or damaged.
    """
    import lzma
    import zlib
    from tokenize import TokenError

    import numpy as np

    # zipfile raises a RuntimeError if the file is encrypted, and its subclass NotImplementedError if the compression
    # method is unknown.
    broken = (
        OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, lzma.LZMAError,
        zlib.error, SyntaxError, TokenError,
    )  # fmt: skip
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > limit:
                raise UserError(f"{source} is larger than {limit >> 20} MB unpacked; run the cell again.")
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except broken:
        raise UserError(f"{source} is damaged; run the cell again.") from None
