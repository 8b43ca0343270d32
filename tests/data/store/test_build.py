"""Building a store: the same bytes every time, whatever happens along the way."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from trees import FAULTS, make_tree, path_of

from anyadbench.data.store import build as module
from anyadbench.data.store.build import prepare
from anyadbench.data.store.extract import Extracted, extract, part_name
from anyadbench.data.store.npy import write_array
from anyadbench.data.store.parts import Parts
from anyadbench.data.store.store import open_store
from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import Layout, get_layout
from anyadbench.data.trees.survey import discover
from anyadbench.errors import UserError

TINY = (16, 16, 8)
LAYOUT = get_layout("brats2018")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_bytes_do_not_depend_on_workers(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 5, TINY, ["no-t2"])
    one = prepare(tree, LAYOUT, tmp_path / "one", workers=1)
    four = prepare(tree, LAYOUT, tmp_path / "four", workers=4)
    assert contents(one.path) == contents(four.path)


def test_content_does_not_depend_on_where_and_when(tmp_path: Path) -> None:
    hashes = set()
    for name in ("here", "there"):
        tree = make_tree("brats2018", tmp_path / name / "source", 2, TINY)
        hashes.add(prepare(tree, LAYOUT, tmp_path / name / "store").content_hash)
    assert len(hashes) == 1


def test_nothing_but_the_store_is_left(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    prepare(tree, LAYOUT, tmp_path / "out" / "store")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["store"]


def test_a_killed_run_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 8, (48, 48, 20))
    code = (
        "import sys; from anyadbench.data.store.build import prepare\n"
        "from anyadbench.data.trees.layouts import get_layout\n"
        "prepare(sys.argv[1], get_layout('brats2018'), sys.argv[2], workers=1,"
        " progress=lambda done, total, label: print(done, flush=True))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tree), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "3":
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert not (tmp_path / "store").exists()
    finished = {path.stem for path in (tmp_path / ".store.work" / "parts").glob("*.json")}
    assert len(finished) >= 3

    read: list[str] = []

    def watched(files: ScanFiles, layout: Layout) -> Extracted:
        read.append(part_name(files, layout))
        return extract(files, layout)

    monkeypatch.setattr(module, "extract", watched)
    resumed = prepare(tree, LAYOUT, tmp_path / "store")
    assert len(read) == 8 - len(finished) and not finished.intersection(read)
    assert contents(resumed.path) == contents(prepare(tree, LAYOUT, tmp_path / "fresh").path)
    assert not (tmp_path / ".store.work").exists()


def test_half_written_parts_are_cleared_away(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    for name in ("parts", "pixels-0"):
        (tmp_path / ".store.work" / name).mkdir(parents=True)
    (tmp_path / ".store.work/parts/.x.01234567.tmp").write_bytes(b"half")
    (tmp_path / ".store.work/pixels-0/images.blosc").write_bytes(b"half")
    store = prepare(tree, LAYOUT, tmp_path / "store")
    store.verify_slices()
    assert not (tmp_path / ".store.work").exists()


@pytest.mark.parametrize("fault", ["", "[]", '{"scan": "a"}', "no pixels", "short pixels"])
def test_a_finished_scan_that_is_not_all_there_is_read_again(tmp_path: Path, fault: str) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    work = tmp_path / ".store.work"
    scan = discover(tree, LAYOUT)[0]
    made = extract(scan, LAYOUT)
    assert made.pixels is not None
    with Parts(work) as parts:
        path = parts.add(part_name(scan, LAYOUT), made.meta, made.pixels)
    (work / "pixels-old").mkdir()
    if fault == "no pixels":
        shutil.rmtree(parts.folder)
    elif fault == "short pixels":
        (parts.folder / "masks.blosc").write_bytes(b"")
    else:
        path.write_text(fault)
    store = prepare(tree, LAYOUT, tmp_path / "store")
    store.verify_slices()
    assert contents(store.path) == contents(prepare(tree, LAYOUT, tmp_path / "fresh").path)


def test_a_second_call_reads_nothing(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    first = prepare(tree, LAYOUT, tmp_path / "store")
    calls: list[int] = []
    again = prepare(tree, LAYOUT, tmp_path / "store", progress=lambda *call: calls.append(1))
    assert again.content_hash == first.content_hash and not calls


def test_bad_scans_stop_it_by_default(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 3, TINY, ["empty"])
    FAULTS["fractional"]("brats2018", tree, 2, TINY, ".nii.gz")
    with pytest.raises(UserError) as caught:
        prepare(tree, LAYOUT, tmp_path / "store")
    text = str(caught.value)
    assert str(path_of("brats2018", tree, 1, "flair")) in text and "is empty (0 bytes)" in text
    assert "1 more scans or files have problems" in text
    assert f"`anyadbench data verify brats2018 --source {tree}`" in text
    assert not (tmp_path / "store").exists()


def test_a_missing_segmentation_stops_it_before_anything_is_read(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 3, TINY, ["missing-seg"])
    calls: list[int] = []
    with pytest.raises(UserError, match="which has no segmentation"):
        prepare(tree, LAYOUT, tmp_path / "store", progress=lambda *call: calls.append(1))
    assert not calls


def test_bad_scans_are_listed_in_quarantine(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 4, TINY, ["twins", "empty"])
    FAULTS["missing-seg"]("brats2018", tree, 2, TINY, ".nii.gz")
    store = prepare(tree, LAYOUT, tmp_path / "store", quarantine=True)
    listed = json.loads((store.path / "quarantine.json").read_text())
    assert [item["scan"] for item in listed] == [f"Brats18_CBICA_A00{n}_1" for n in (1, 2)]
    assert set(store.scans.index) == {"Brats18_CBICA_A003_1", "Brats18_CBICA_A004_1", "Brats18_CBICA_A090_1"}


def test_one_of_two_twins_is_left_out(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY, ["twins"])
    store = prepare(tree, LAYOUT, tmp_path / "store", quarantine=True)
    assert set(store.scans.index) == {"Brats18_CBICA_A001_1", "Brats18_CBICA_A002_1"}


def test_a_store_with_scans_left_out_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 3, TINY, ["empty"])
    prepare(tree, LAYOUT, tmp_path / "store", quarantine=True)
    with pytest.raises(UserError, match="is empty"):
        prepare(tree, LAYOUT, tmp_path / "store")


def test_no_usable_scan_at_all(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 1, TINY, ["empty"])
    with pytest.raises(UserError, match=r"No scan of brats2018 in .* can be used; `anyadbench data verify"):
        prepare(tree, LAYOUT, tmp_path / "store", quarantine=True)
    assert not (tmp_path / "store").exists()


def test_source_and_store_must_differ(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 1, TINY)
    before = sorted(tree.rglob("*"))
    with pytest.raises(UserError, match=r"--source and the store are the same folder"):
        prepare(tree, LAYOUT, tree.parent / "." / "source")
    with pytest.raises(UserError, match="would replace the source"):
        prepare(tree, LAYOUT, tmp_path)
    assert sorted(tree.rglob("*")) == before


def test_a_store_is_no_source(tmp_path: Path) -> None:
    store = prepare(make_tree("brats2018", tmp_path / "source", 1, TINY), LAYOUT, tmp_path / "store")
    with pytest.raises(UserError, match="is already a slice store"):
        prepare(store.path, LAYOUT, tmp_path / "other")


def test_a_taken_folder_is_not_overwritten(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 1, TINY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"exists and is not a slice store, and was left unchanged; name a new folder"):
        prepare(tree, LAYOUT, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_store_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    first = prepare(make_tree("brats2018", tmp_path / "a", 1, TINY), LAYOUT, tmp_path / "store")
    with pytest.raises(UserError, match="is a store of other files than those in"):
        prepare(make_tree("brats2018", tmp_path / "b", 2, TINY), LAYOUT, tmp_path / "store")
    assert open_store(tmp_path / "store").content_hash == first.content_hash


def test_a_full_disk_is_one_sentence_and_resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(module, "assemble", full)
        with pytest.raises(UserError, match=r"disk is full while writing .*/store; free some space, or give --out a"):
            prepare(tree, LAYOUT, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    prepare(tree, LAYOUT, tmp_path / "store").verify_slices()


def test_written_arrays_are_numpys(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)[:, ::-1]
    write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 1, TINY)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"store cannot be written \(Not a directory\); give --out a folder"):
        prepare(tree, LAYOUT, tmp_path / "file" / "store")


def test_two_runs_at_once_make_one_store(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 4, TINY)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(prepare, tree, LAYOUT, tmp_path / "store") for _ in range(3)]
        hashes = {run.result().content_hash for run in runs}
    assert hashes == {open_store(tmp_path / "store").content_hash}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "store"]


def test_a_touched_file_is_read_again(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY, ["empty"])
    with pytest.raises(UserError, match="is empty"):
        prepare(tree, LAYOUT, tmp_path / "store")
    time.sleep(0.01)
    make_tree("brats2018", tree, [1], TINY)
    assert len(prepare(tree, LAYOUT, tmp_path / "store").scans) == 2


def test_a_broken_link_is_a_missing_file(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    path = path_of("brats2018", tree, 1, "t1")
    path.unlink()
    path.symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(UserError, match=r"_t1\.nii\.gz is missing; check the path"):
        prepare(tree, LAYOUT, tmp_path / "store")


@pytest.mark.parametrize("name", ["brats2018", "anyad-png"])
@pytest.mark.slow
def test_memory_does_not_grow_with_the_patients(tmp_path: Path, name: str) -> None:
    """Twenty more patients cost a small part of their pixels: their lines in the tables."""
    import tracemalloc

    layout, peaks, sizes = get_layout(name), [], []
    prepare(make_tree(name, tmp_path / "first", 2, (48, 48, 24)), layout, tmp_path / "warm")
    for subjects in (4, 24):
        tree = make_tree(name, tmp_path / f"tree-{subjects}", subjects, (48, 48, 24))
        tracemalloc.start()
        store = prepare(tree, layout, tmp_path / f"store-{subjects}", workers=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(2 * math.prod(store.images.shape) + math.prod(store.masks.shape))
    assert peaks[1] - peaks[0] < 0.25 * (sizes[1] - sizes[0])
