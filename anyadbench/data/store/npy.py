"""Writing ``.npy`` files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from anyadbench.files import atomic_file

if TYPE_CHECKING:
    from jaxtyping import Shaped


def write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Write the header of a C-ordered array; its bytes follow."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def write_array(path: Path, array: Shaped[np.ndarray, "*shape"]) -> None:
    """Write an array, see ``files.atomic_file``."""
    with atomic_file(path, fsync=False) as file:
        write_header(file, array.shape, array.dtype)
        file.write(np.ascontiguousarray(array).data)
