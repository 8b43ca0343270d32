"""Reading ``.npy`` files that users give: one sentence for each fault, and no memory for what a header claims."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anyadbench.data.store.npy import load_npy
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.array_slices import read_array
from anyadbench.data.trees.volume import lost_in_float32
from anyadbench.quiet import without_warnings


def saved(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(text: str, values: bytes = b"", version: int = 1) -> bytes:
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + text.encode() + values


def archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, np.zeros(3))
    return file.getvalue()


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3), np.array(3), np.zeros((0, 4)), np.ones(3, ">i2"),
                                   np.asfortranarray(np.arange(6).reshape(2, 3))])  # fmt: skip
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray) -> None:
    (tmp_path / "a.npy").write_bytes(saved(array))
    found = load_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_header_is_read(tmp_path: Path, version: int) -> None:
    (tmp_path / "a.npy").write_bytes(headed(header("(2,)"), np.ones(2, "<f4").tobytes(), version))
    assert load_npy(tmp_path / "a.npy").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty (0 bytes)"),
        (b"text", "cannot be read as an array (it does not begin as numpy.save begins a file)"),
        (b"\x93NUMPY\x07\x00", "cannot be read as an array (version 7 of the format is unknown)"),
        (b"\x93NUMPY\x01\x00", "cannot be read as an array ("),
        (headed("{'descr': '<f4', ("), "cannot be read as an array ("),
        (headed("(" * 3000), "cannot be read as an array ("),
        (headed("[]"), "cannot be read as an array ("),
        (headed(header("(2,)", "('<f4',)"), bytes(8)), "cannot be read as an array ("),
        (headed(header("(-1,)"), bytes(8)), "has the impossible shape (-1,) in its header"),
        (headed(header("(1000000, 1000000, 1000000)"), bytes(8)), "ends early (8 bytes of values where (1000000, "),
        (headed(header("(2,)"), bytes(7)), "ends early (7 bytes of values where (2,) of float32 takes 8)"),
        (saved(np.zeros(3)) * 2, "is longer than its header says ("),
        (archive(), "is a ZIP archive, such as numpy.savez writes, where one array is expected"),
        (b"PK\x03\x04junk", "is a ZIP archive"),
        (b"\x1f\x8bjunk", "is packed by gzip"),
        (b"\x80\x04junk", "holds pickled objects, which are not read"),
        (saved(np.array([{}], object), allow_pickle=True), "holds Python objects, which are not read"),
    ],
)
def test_what_is_no_array_is_one_sentence(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(BadFile) as caught:
        load_npy(path)
    assert f"{path} {cause}" in str(caught.value)
    assert str(caught.value).endswith("; write it again with numpy.save.")


def test_a_path_without_a_file_is_one_sentence(tmp_path: Path) -> None:
    for path, cause in ((tmp_path / "none.npy", "is missing; check the path"), (tmp_path, "is not a regular file")):
        with pytest.raises(BadFile, match=cause):
            load_npy(path)


def test_numpy_s_own_warnings_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(headed(header("(2L,)"), bytes(8)))  # as Python 2 wrote it
    np.save(tmp_path / "b.npy", np.full((1, 2, 2), 1e300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_npy(tmp_path / "a.npy").shape == (2,)
        with pytest.raises(BadFile, match="holds NaN or infinity, or numbers beyond float32; fix or replace the array"):
            read_array(tmp_path / "b.npy", ("t1",))


def test_filters_of_warnings_are_restored_whichever_thread_ends_first() -> None:
    before, events = list(warnings.filters), [threading.Event() for _ in range(3)]

    def hold(entered: threading.Event, leave: threading.Event) -> None:
        with without_warnings():
            entered.set()
            leave.wait(10)

    first = threading.Thread(target=hold, args=(events[0], events[1]))
    first.start()
    events[0].wait(10)
    with without_warnings():
        events[1].set()
        first.join(10)
        warnings.warn_explicit("of no file", UserWarning, "nifti1.py", 1, module="nibabel.nifti1")
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (lambda: 1 + 1e-9 * np.arange(8.0), 7 / 8),
        (lambda: (1 + 1e-9 * np.arange(8.0)).astype(">f8"), 7 / 8),
        (lambda: 2**40 + np.arange(8), 7 / 8),
        (lambda: np.arange(8), 0.0),
        (lambda: np.arange(8, dtype=np.int16), 0.0),
    ],
)
def test_values_that_float32_cannot_tell_apart_are_counted_in_every_type(
    make: Callable[[], np.ndarray], lost: float
) -> None:
    assert lost_in_float32(make()) == lost
