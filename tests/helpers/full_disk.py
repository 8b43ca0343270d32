"""Disks that are full: a real one of the system where that is allowed, and one that only the writer believes in."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anyadbench import files

MEGABYTES = 64
FILLING = "filling.bin"


class RealDisk:
    """A small file system in memory, filled up by a file of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "place"
        self.folder.mkdir()

    @contextmanager
    def leaving(self, size: int) -> Iterator[None]:
        """Leave room for some bytes, rounded down to whole blocks."""
        with open(self.root / FILLING, "wb") as filling:
            free = os.statvfs(self.root)
            os.posix_fallocate(filling.fileno(), 0, free.f_bavail * free.f_frsize - size // 4096 * 4096)
        try:
            yield
        finally:
            (self.root / FILLING).unlink()


class BelievedDisk:
    """A folder in which ``files`` gets the system's refusal after some bytes; needs no rights."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self._patch = root, patch

    @contextmanager
    def leaving(self, size: int) -> Iterator[None]:
        """Leave room for some bytes."""
        left = size
        write = files._Recorder.write

        class Full(files._Recorder):
            def write(self, data: Any, /) -> int:
                nonlocal left
                taken = memoryview(data).cast("B")[:left]
                if not len(taken) and memoryview(data).nbytes:
                    self.refusal = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    raise self.refusal
                done = write(self, taken)
                left -= done
                return done

        with self._patch.context() as patch:
            patch.setattr(files, "_Recorder", Full)
            yield


@contextmanager
def mounted(root: Path) -> Iterator[Path]:
    """Mount a file system in memory, or skip the test."""
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(root)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what each file below a folder holds, but for lock files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
