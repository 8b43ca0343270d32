"""Mutated NIfTI, TOML and JSON files: a clear error or a correct result; no crash, no hang, no growth of memory."""

from __future__ import annotations

import gzip
import random
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from boards_fixture import FakeMethod, write_runs
from job_fixture import planned
from trees import anatomy, save

from anyadbench.cells.inventory import list_cells
from anyadbench.cells.job import Job
from anyadbench.data.trees.volume import read_channels, read_labels, read_volume
from anyadbench.errors import UserError
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.read import read_cells

MEMORY = 48 << 20
"""Largest number of bytes that reading one of these small files may allocate."""

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


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii", anatomy(1, (10, 8, 6), "t1")).read_bytes()
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(plain + bytes(200 << 20), 1))
    with watched("a bomb"), pytest.raises(UserError, match="unpacks to more than the size in its header"):
        read_volume(path)
