"""Memory that stays with the process while arrays come and go."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
from contextlib import nullcontext
from threading import Thread

import numpy as np

from anyadbench.data.store.heap import kept_heap


def arrays():
    # Two of a size that a thread's own arena cannot hold together, again and again.
    for _ in range(20):
        first, second = np.empty(40 << 20, np.uint8), np.empty(40 << 20, np.uint8)
        first[::4096] = second[::4096] = 1


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


start, before = resident(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
with kept_heap() if sys.argv[1] == "kept" else nullcontext():
    thread = Thread(target=arrays)
    thread.start()
    thread.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(resident() - start)
"""


def test_pages_are_used_again_and_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library is not glibc")
    found = {}
    for way in ("kept", "plain"):
        done = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        found[way] = [int(line) for line in done.stdout.split()]
    pages = 20 * (80 << 20) // 4096
    if found["plain"][0] < pages // 2:
        pytest.skip("the system's pages are larger than 4 KB")
    assert found["kept"][0] < pages // 8 and found["kept"][1] < 20 << 20, found
