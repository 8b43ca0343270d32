"""Mutated files of every kind that is read: a clear error or a result; no crash, no hang, no growth of memory."""

from __future__ import annotations

import gzip
import io
import math
import os
import random
import resource
import signal
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel
import numpy as np
import pytest
from boards_fixture import FakeMethod, write_runs
from dicom_fixture import write_enhanced, write_series
from job_fixture import planned
from trees import LPS, anatomy, make_tree, save

from anyadbench.cells.inventory import list_cells
from anyadbench.cells.job import Job
from anyadbench.data.store.build import prepare
from anyadbench.data.trees.background import settle
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.png import read_png
from anyadbench.data.trees.problems import errors
from anyadbench.data.trees.verify import verify
from anyadbench.data.trees.volume import read_channels, read_labels, read_map, read_volume
from anyadbench.errors import UserError
from anyadbench.external.map_files import MapFolder
from anyadbench.predict.batch import from_table
from anyadbench.predict.dicom import read_series
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.read import read_cells

MEMORY = 48 << 20
"""Largest number of bytes that reading one of these small files may allocate."""

RESIDENT = 256 << 20
"""Likewise for a whole test, with allocations in C."""

SECONDS = 20
"""Longer than reading takes even on a loaded machine: anything longer is a hang."""

WORDS = (
    b"null", b"-1", b"1e999", b"NaN", b"0", b"99999999999999999999", b'"\\u0000"', b"[]", b"{}", b"true", b"\xff\xfe",
    b"[" * 300, b'{"a":' * 300, b"../../../etc/passwd", b"\x1b[2J", b"<script>alert(1)</script>", b"1" * 5000,
)  # fmt: skip


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to four random faults."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) or 1)
        kind = draw.randrange(7)
        if kind == 0 and changed:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 40))
        elif kind == 3:
            del changed[at : at + draw.randint(1, 60)]
        elif kind == 4:
            changed[at : at + draw.randint(0, 8)] = draw.choice(WORDS)
        elif kind == 5:
            changed[at:at] = changed[at : at + draw.randint(1, 200)]
        elif changed:  # the header, which contains the numbers for shape and type
            changed[draw.randrange(min(len(changed), 352))] = draw.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def resident() -> int:
    """Return the bytes of memory that this process holds, those of libraries in C included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def no_growth() -> Iterator[None]:
    """Fail if a test's mutated files leave much memory behind, or need much outside Python at any time."""
    if not Path("/proc/self/statm").is_file():
        yield
        return
    for name in ("torch", "safetensors.torch", "SimpleITK"):  # libraries that are loaded do not count as growth
        with suppress(ImportError):
            import_module(name)
    before, highest = resident(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resident() - before < RESIDENT
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - highest) << 10 < RESIDENT


@contextmanager
def watched(what: str) -> Iterator[None]:
    """Fail if the body hangs or uses much memory."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY, f"{what} takes too much memory"
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(read: Callable[[], object], what: str) -> bool:
    """Read something; return whether it succeeded. Anything but a result or a sentence is a failure."""
    with watched(what):
        try:
            read()
        except UserError as error:
            said = str(error)
            assert said.strip(), what
            assert "\n" not in said.strip() or "Traceback" not in said, what
            return False
    return True


def counts(total: int) -> list[Any]:
    return [pytest.param(total // 10, id="fast"), pytest.param(total, id="whole", marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", counts(700))
def test_mutated_nifti_files(count: int, tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", anatomy(1, (10, 8, 6), "t1")).read_bytes()
    draw = random.Random(count)
    read = 0
    for number in range(count):
        mutated = mutate(plain, draw)
        packed = draw.random() < 0.5
        data = gzip.compress(mutated, 1) if packed else mutated
        if packed and draw.random() < 0.5:
            data = mutate(gzip.compress(plain, 1), draw)
        path = tmp_path / ("b.nii.gz" if packed else "b.nii")
        path.write_bytes(data)
        reader = draw.choice((read_volume, read_labels, lambda path: read_channels(path, ("t1", "t2"))))
        read += check(lambda path=path, reader=reader: reader(path), f"NIfTI {count}/{number}")
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(600))
def test_mutated_protocols(count: int, tmp_path: Path) -> None:
    from anyadbench.protocols import protocol_files

    sources = [path.read_bytes() for path in protocol_files(()).values()]
    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = tmp_path / "mine.toml"
        path.write_bytes(mutate(draw.choice(sources), draw))
        read += check(lambda path=path: read_protocol(path), f"TOML {count}/{number}")
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(700))
def test_mutated_records_of_cells(count: int, tmp_path: Path) -> None:
    write_runs(tmp_path, (FakeMethod("mine", "Mine", maps=False),), failed=False)
    (cell,) = (tmp_path / "cells").iterdir()
    planned(tmp_path, params={"a": 1}).save()
    (work,) = (tmp_path / "cells").glob("*.partial")
    originals = {cell / name: (cell / name).read_bytes() for name in ("cell.json", "result.json")}
    originals[work / "plan.json"] = (work / "plan.json").read_bytes()
    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = draw.choice(list(originals))
        path.write_bytes(mutate(originals[path], draw))
        check(lambda: read_cells(tmp_path), f"JSON {count}/{number}")
        check(lambda: list_cells(tmp_path), f"JSON {count}/{number}")
        read += check(lambda: Job.load(work), f"plan {count}/{number}")
        assert all(record.problem is None or record.result is None for record in read_cells(tmp_path))
        path.write_bytes(originals[path])
    assert 0 < read < count


HEADER = [
    (0, "i", 1), (40, "h", 8), (68, "h", 1), (70, "h", 1), (72, "h", 1), (76, "f", 8), (108, "f", 1), (112, "f", 2),
    (123, "B", 1), (252, "h", 2), (256, "f", 6), (280, "f", 12), (344, "B", 4),
]  # fmt: skip
"""Offset, type and number of the fields of a NIfTI-1 header that say how the values are read."""

NUMBERS = (0, 1, -1, 2, 3, 16, 64, 127, 255, 256, 32767, -32768, 1e-30, 1e30, float("nan"), float("inf"), -float("inf"))


def with_odd_fields(plain: bytes, draw: random.Random) -> bytes:
    """Return a NIfTI file with one to three numbers of its header replaced."""
    changed = bytearray(plain)
    for _ in range(draw.randint(1, 3)):
        at, kind, count = draw.choice(HEADER)
        size = struct.calcsize(kind)
        value: float = draw.choice(NUMBERS)
        if kind != "f":
            whole = int(value) if math.isfinite(value) else 0
            top = 1 << (8 * size)
            value = whole % top if kind == "B" else (whole + top // 2) % top - top // 2
        struct.pack_into(f"<{kind}", changed, at + size * draw.randrange(count), value)
    return bytes(changed)


@pytest.mark.parametrize("count", counts(1000))
def test_nifti_headers_field_by_field(count: int, tmp_path: Path) -> None:
    single = save(tmp_path / "a.nii", anatomy(1, (10, 8, 6), "t1")).read_bytes()
    nibabel.nifti1.Nifti1Pair(anatomy(1, (10, 8, 6), "t1"), LPS).to_filename(tmp_path / "p.hdr")  # type: ignore[no-untyped-call]
    header = (tmp_path / "p.hdr").read_bytes()
    draw = random.Random(count)
    read = 0
    for number in range(count):
        pair = draw.random() < 0.3
        path = tmp_path / ("p.hdr" if pair else "b.nii")
        path.write_bytes(with_odd_fields(header if pair else single, draw))
        reader = draw.choice((lambda path: settle(read_volume(path)), read_labels, read_map))
        read += check(lambda path=path, reader=reader: reader(path), f"header {count}/{number}")
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(700))
def test_mutated_tables(count: int, tmp_path: Path) -> None:
    text = 'sep=;\r\npatient;flair;t1\r\n"A;1";a.nii;b.nii\r\nB;"c\r\n.nii";\r\n;;;\r\n'
    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = tmp_path / "t.csv"
        encoding = draw.choice(("utf-8", "utf-8-sig", "utf-16", "cp1252"))
        path.write_bytes(mutate(text.replace(";", draw.choice(";,\t")).encode(encoding), draw))
        read += check(lambda path=path: from_table(path), f"table {count}/{number}")
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(500))
def test_mutated_folders_of_maps(count: int, tmp_path: Path) -> None:
    store = prepare(make_tree("brats2018", tmp_path / "tree", 1), get_layout("brats2018"), tmp_path / "store")
    (scan,) = store.scans.index
    folder = tmp_path / "maps/F"
    folder.mkdir(parents=True)
    table, volume = folder / "image_scores.csv", folder / f"{scan}.nii.gz"
    rows = "".join(f"{scan},{k},0.{k}\n" for k in store.slices["slice"])
    save(volume, anatomy(1, (40, 40, 12), "t1").astype(np.float64))
    originals = {table: ("scan,slice,score\n" + rows).encode(), volume: volume.read_bytes()}
    array = io.BytesIO()
    np.save(array, np.ones((40, 40)))
    slices = folder.parent / "T1" / scan
    slices.mkdir(parents=True)
    originals[slices / "4.npy"] = array.getvalue()
    for path, data in originals.items():
        path.write_bytes(data)

    def score() -> None:
        maps = MapFolder(tmp_path / "maps", store, ("F", "T1"))
        maps.read("F", scan, 4), maps.read("T1", scan, 4), maps.image_score("F", scan, 4)

    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = draw.choice(list(originals))
        path.write_bytes(mutate(originals[path], draw))
        read += check(score, f"maps {count}/{number}")
        path.write_bytes(originals[path])
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(300))
def test_mutated_png_slices(count: int, tmp_path: Path) -> None:
    tree = make_tree("anyad-png", tmp_path, 2)
    paths = sorted(tree.rglob("*.png"))
    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = draw.choice(paths)
        plain = path.read_bytes()
        path.write_bytes(mutate(plain, draw))
        read += check(lambda path=path: read_png(path), f"PNG {count}/{number}")
        path.write_bytes(plain)
    path.write_bytes(mutate(plain, draw)[:30])
    assert errors(verify(tree, get_layout("anyad-png")))
    assert read < count


@pytest.mark.parametrize("count", counts(500))
def test_mutated_dicom_files(count: int, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "enhanced/e.dcm", np.ones((3, 4, 5)), [2, 0, 1])
    write_series(nibabel.nifti1.Nifti1Image(np.ones((5, 4, 3), np.int16), LPS), tmp_path / "series", "1.2")  # type: ignore[no-untyped-call]
    files = [tmp_path / "enhanced/e.dcm", *sorted((tmp_path / "series").iterdir())]
    plain = [path.read_bytes() for path in files]
    draw = random.Random(count)
    read = 0
    for number in range(count):
        place = draw.randrange(len(files))
        whole = draw.random() < 0.3
        data = plain[place]
        files[place].write_bytes(mutate(data, draw) if whole else data[:300] + mutate(data[300:], draw))
        read += check(lambda path=files[place]: read_series(path.parent), f"DICOM {count}/{number}")
        files[place].write_bytes(data)
    assert 0 < read < count


@pytest.mark.parametrize("count", counts(300))
def test_mutated_tensors_and_arrays(count: int, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from anyadbench.results.kept_maps import read_maps
    from anyadbench.weights.reading import read_tensors

    save_file({"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}, tmp_path / "w.safetensors")
    (tmp_path / "c/scores").mkdir(parents=True)
    archive = tmp_path / "c/scores/maps.npz"
    np.savez_compressed(
        archive, maps=np.ones((2, 1, 4, 4), np.float32), info=np.array('{"subsets": ["F"], "slices": []}')
    )
    weights = tmp_path / "w.safetensors"
    originals = {weights: weights.read_bytes(), archive: archive.read_bytes()}
    draw = random.Random(count)
    read = 0
    for number in range(count):
        path = draw.choice(list(originals))
        path.write_bytes(mutate(originals[path], draw))
        reader = (lambda: read_tensors(weights)) if path == weights else (lambda: read_maps(tmp_path / "c"))
        read += check(reader, f"tensors {count}/{number}")
        path.write_bytes(originals[path])
    assert read < count


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", anatomy(1, (10, 8, 6), "t1")).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(plain + bytes(200 << 20), 1))
    with watched("a bomb"), pytest.raises(UserError, match="unpacks to more than the size in its header"):
        read_volume(path)
