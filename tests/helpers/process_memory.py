"""Memory of the process that runs the tests: how much it holds, and giving back what no test needs any more."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

MUCH = 3 << 29
"""Resident bytes above which memory is given back: half as much again as after importing every library."""

MORE = 1 << 28
"""Bytes that a process must have gained since it last gave memory back: looking takes a good part of a second."""

_kept = 0


def resident() -> int:
    """Return the resident bytes of this process, 0 where the system has no ``/proc``."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else 0


def give_back(much: int = MUCH, more: int = MORE) -> None:
    """Free what a test left behind and return it to the system, if the process holds much and more than last time.

    A network and its optimiser or hooks refer to each other, and Python looks for such circles among old objects only
    once these have become a quarter more. Freed blocks of up to 32 MB stay with the C library for the next ones.
    """
    global _kept
    if resident() > max(much, _kept + more):
        gc.collect()
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)
        _kept = resident()
