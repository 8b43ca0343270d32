"""Reading and writing ``.npy`` files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from anyadbench.data.trees.problems import BadFile
from anyadbench.files import atomic_file
from anyadbench.quiet import without_warnings

if TYPE_CHECKING:
    from jaxtyping import Shaped

_OTHERS = {
    b"PK": "is a ZIP archive, such as numpy.savez writes, where one array is expected",
    b"\x1f\x8b": "is packed by gzip",
    b"\x80": "holds pickled objects, which are not read",
}
"""What files are that begin with these bytes, as predicates."""

# numpy reads the header as Python source, so that a damaged one may raise almost anything.
_BROKEN = (
    OSError, ValueError, TypeError, EOFError, LookupError, AttributeError, ArithmeticError, SyntaxError, TokenError,
    MemoryError, RecursionError,
)  # fmt: skip


def load_npy(path: Path, fix: str = "write it again with numpy.save") -> Shaped[np.ndarray, "*shape"]:
    """Read a ``.npy`` file that a user gave. What its header says is compared with its size before memory is taken.

    Args:
        path: The file.
        fix: What to do about a bad one, in the imperative.

    Raises:
        BadFile: If it is missing, damaged, no ``.npy`` file, longer or shorter than its header says, or holds objects.
    """
    try:
        if path.exists() and not path.is_file():
            raise BadFile(path, "is not a regular file", fix)
        with path.open("rb") as file, without_warnings():
            start = file.read(8)
            _check_start(path, start, fix)
            header = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if dtype.hasobject:
                raise BadFile(path, "holds Python objects, which are not read", fix)
            if any(length < 0 for length in shape):
                raise BadFile(path, f"has the impossible shape {shape} in its header", fix)
            wanted = math.prod(shape) * dtype.itemsize
            found = os.fstat(file.fileno()).st_size - file.tell()
            if wanted != found:
                how = "ends early" if found < wanted else "is longer than its header says"
                raise BadFile(path, f"{how} ({found} bytes of values where {shape} of {dtype} takes {wanted})", fix)
            file.seek(0)
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except FileNotFoundError:
        raise BadFile(path, "is missing", "check the path") from None
    except _BROKEN as error:
        text = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise BadFile(path, f"cannot be read as an array ({text or type(error).__name__})"[:200], fix) from error


def _check_start(path: Path, start: bytes, fix: str) -> None:
    """Refuse a file that does not begin as ``numpy.save`` begins it."""
    if not start:
        raise BadFile(path, "is empty (0 bytes)", fix)
    other = next((cause for mark, cause in _OTHERS.items() if start.startswith(mark)), None)
    if other is not None:
        raise BadFile(path, other, fix)
    if len(start) < 8 or start[:6] != np.lib.format.MAGIC_PREFIX:
        raise BadFile(path, "cannot be read as an array (it does not begin as numpy.save begins a file)", fix)
    if start[6] not in (1, 2, 3):
        raise BadFile(path, f"cannot be read as an array (version {start[6]} of the format is unknown)", fix)


def write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the header of a C-ordered array; its bytes follow."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def write_array(path: Path, array: Shaped[np.ndarray, "*shape"]) -> None:
    """Write an array, see ``files.atomic_file``."""
    with atomic_file(path, fsync=False) as file:
        write_header(file, array.shape, array.dtype)
        file.write(np.ascontiguousarray(array).data)
