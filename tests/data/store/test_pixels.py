"""Compressed pixels hold what plain arrays would, and hashes are those of the values."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trees import FAULTS, make_tree

from anyadbench.data.store.build import prepare
from anyadbench.data.store.extract import read_part, slice_sha
from anyadbench.data.store.ordering import in_index_order, mean_and_deviation, percentiles
from anyadbench.data.store.pixels import INDEX, SIZE, pack, rewrite
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.nifti_scan import hash_array
from anyadbench.data.trees.survey import survey
from anyadbench.errors import UserError

LAYOUT = get_layout("brats2018")
PLAIN = "94df61c48c2cf7a9bd7a4737e181b4fb555b895c9cc7de67800ffbd12502fa6e"
"""Content hash of the store of ``odd_tree``, as format 4 with its plain arrays had it."""


def odd_tree(folder: Path) -> Path:
    """Make scans of two shapes, of which one lacks a sequence."""
    tree = make_tree("brats2018", folder, 3, (20, 16, 10), ["no-t2"])
    make_tree("brats2018", tree, [7], (16, 24, 12))
    return tree


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    folder = tmp_path_factory.mktemp("pixels")
    return prepare(odd_tree(folder / "source"), LAYOUT, folder / "store")


def plain(source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays of a tree's store, each scan padded around its centre with its own background."""
    parts = [read_part(scan, LAYOUT)[0] for scan in survey(source, LAYOUT).scans]
    names = ("flair", "t1", "t1ce", "t2")
    height, width = (max(part.masks.shape[axis] for part in parts if part) for axis in (1, 2))
    images, masks = [], []
    for part in parts:
        assert part is not None
        pads = [((size - own) // 2, size - own - (size - own) // 2) for size, own in
                zip((height, width), part.masks.shape[1:], strict=True)]  # fmt: skip
        whole = np.zeros((len(part.masks), len(names), height, width), np.uint16)
        for index, name in enumerate(part.sequences):
            fill = part.row[f"zero_{name}"]
            whole[:, names.index(name)] = np.pad(part.images[:, index], ((0, 0), *pads), constant_values=fill)
        images.append(whole)
        masks.append(np.pad(part.masks, ((0, 0), *pads)))
    return np.concatenate(images), np.concatenate(masks)


def test_contents_are_those_of_plain_arrays(store: SliceStore) -> None:
    images, masks = plain(store.path.parent / "source")
    np.testing.assert_array_equal(store.images, images)
    np.testing.assert_array_equal(store.masks, masks)
    assert store.slices["sha"].tolist() == [slice_sha(*pair) for pair in zip(images, masks, strict=True)]
    assert store.content_hash == PLAIN


@pytest.mark.parametrize(
    "place",
    [3, -1, (3, 1), (np.array([4, 1]), 2), slice(2, 9, 3), np.array([5, 5, 0]), (3, ..., 5, 5), (slice(None), 0),
     (slice(None), -1, slice(2, 4)), [1, 2]],
)  # fmt: skip
def test_they_are_indexed_like_an_array(store: SliceStore, place: Any) -> None:
    np.testing.assert_array_equal(store.images[place], np.array(store.images)[place])
    rows = place[0] if isinstance(place, tuple) else place
    np.testing.assert_array_equal(store.masks[rows], np.array(store.masks)[rows])
    with pytest.raises(IndexError):
        store.images[len(store)]


def test_absent_sequences_and_empty_masks_take_no_space(store: SliceStore) -> None:
    index = np.load(store.path / INDEX)
    lacking = ~store.present(np.arange(len(store)), store.sequences)
    assert lacking.any() and not index[:, :-1, SIZE][lacking].any() and index[:, :-1, SIZE][~lacking].all()
    assert ((index[:, -1, SIZE] > 0) == np.array(store.masks).any(axis=(1, 2))).all()


def test_any_plane_is_kept(tmp_path: Path, store: SliceStore) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2**16, store.images.shape, dtype=np.uint16)
    masks = rng.integers(0, 2, store.masks.shape, dtype=np.uint8) * 255
    images[1], images[2, :, 3:], masks[3] = 0, 7, 0
    for name in os.listdir(store.path):
        (tmp_path / name).write_bytes((store.path / name).read_bytes())
    rewrite(tmp_path, images, masks)
    changed = open_store(tmp_path)
    np.testing.assert_array_equal(changed.images, images)
    np.testing.assert_array_equal(changed.masks, masks)


def test_a_box_ends_where_the_values_do() -> None:
    image = np.full((1, 1, 9, 8), 5, np.uint16)
    image[0, 0, 2:4, 3:7] = 6
    blocks, masks, index = pack(image, np.zeros((1, 9, 8), np.uint8), [5])
    assert index[0].tolist() == [[0, len(blocks), 2, 3, 2, 4, 5], [0] * 7] and not masks


def test_a_broken_block_is_one_sentence(store: SliceStore, tmp_path: Path) -> None:
    for name in os.listdir(store.path):
        (tmp_path / name).write_bytes((store.path / name).read_bytes())
    data = bytearray((tmp_path / "images.blosc").read_bytes())
    data[:16] = bytes(16)
    (tmp_path / "images.blosc").write_bytes(data)
    with pytest.raises(UserError, match=r"images\.blosc was changed after it was made \(slice 0: .*; delete the store"):
        open_store(tmp_path).verify_slices()


@pytest.mark.parametrize("done", [1, 3, 5])
def test_killed_again_and_again_it_resumes(tmp_path: Path, done: int) -> None:
    """Kill it while the ``done``-th scan is being appended, then while what is finished is copied, then finish."""
    tree = make_tree("brats2018", tmp_path / "source", 4, (48, 48, 20))
    FAULTS["twins"]("brats2018", tree, 2, (48, 48, 20), ".nii.gz")
    code = (
        "import os, signal, sys\n"
        "from anyadbench.data.store import parts\n"
        "from anyadbench.data.store.build import prepare\n"
        "from anyadbench.data.trees.layouts import get_layout\n"
        "calls, write = [0], parts.write_text\n"
        "def dying(*arguments, **options):\n"
        "    calls[0] += 1\n"
        "    if calls[0] == int(sys.argv[3]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    write(*arguments, **options)\n"
        "parts.write_text = dying\n"
        "prepare(sys.argv[1], get_layout('brats2018'), sys.argv[2], quarantine=True)"
    )
    for call in (done, done + 1):
        child = subprocess.run([sys.executable, "-c", code, str(tree), str(tmp_path / "store"), str(call)], check=False)
        assert child.returncode == -signal.SIGKILL and not (tmp_path / "store").exists()
    resumed = prepare(tree, LAYOUT, tmp_path / "store", quarantine=True)
    fresh = prepare(tree, LAYOUT, tmp_path / "fresh", quarantine=True)
    for path in fresh.path.iterdir():
        assert (resumed.path / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(fresh.scans) == 4 and not (tmp_path / ".store.work").exists()


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float32])
@pytest.mark.parametrize(("low", "high"), [(1, 90), (-300, 3000), (900, 40_000), (-(2**15), 2**15 - 1)])
def test_percentiles_are_numpys_to_the_bit(kind: Any, low: int, high: int) -> None:
    if not np.issubdtype(kind, np.floating):
        high = min(high, int(np.iinfo(kind).max))
        low = max(min(low, high), int(np.iinfo(kind).min))
    rng = np.random.default_rng(high)
    wanted = (0.0, 1.0, 10.0, 33.3, 50.0, 99.0, 99.5, 99.8, 99.9, 100.0)
    for size in (1, 2, 7, 1000, 33_333):
        values = np.sort(rng.integers(low, high + 1, (size, 2)), axis=1)[:, 0].astype(kind)
        assert percentiles(values, wanted).tolist() == np.percentile(values.astype(np.float64), wanted).tolist()
    assert not percentiles(np.empty(0, kind), wanted).any()


def test_index_order_is_the_arrays_own() -> None:
    array = np.asfortranarray(np.arange(210, dtype=np.int16).reshape(5, 6, 7))[::-1, :, ::-1]
    for view in (array, array.transpose(2, 0, 1), array[0]):
        turned = in_index_order(view, np.float32)
        assert turned.flags.c_contiguous and turned.dtype == np.float32
        np.testing.assert_array_equal(turned, view)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_mean_and_deviation_are_numpys_to_the_bit(kind: Any) -> None:
    rng = np.random.default_rng(3)
    for size in (1, 2, 9, 1000, 70_001):
        values = (rng.normal(90, 20, size) % 120).astype(kind)
        wide = values.astype(np.float64)
        assert mean_and_deviation(values) == (wide.mean(), wide.std())
    assert mean_and_deviation(np.empty(0, kind)) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(3, 4, 5), (70, 60, 50), (0, 3, 3), (300, 300)])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
def test_the_hash_of_an_array_is_that_of_its_shape_and_float32_values(shape: tuple[int, ...], kind: Any) -> None:
    array = np.asfortranarray(np.random.default_rng(1).normal(0, 900, shape).astype(kind))[::-1]
    whole = np.ascontiguousarray(array, dtype=np.float32)
    assert hash_array(array) == hashlib.sha256(repr(shape).encode() + whole.tobytes()).hexdigest()
