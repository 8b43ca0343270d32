"""Memory of the C library while arrays of the same few sizes come and go."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
"""Parameters of glibc's ``mallopt`` (``malloc.h``)."""

_MAPPED = 1 << 25
"""Bytes from which an array is mapped by itself: where glibc's own adjustment ends in a process with large arrays."""

_MOST = (1 << 31) - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Let freed memory wait for the next arrays while the block runs; return it to the system afterwards.

    glibc gives each large array back to the system and takes new pages for the next one, and each new page costs a call
    of the kernel, for which the threads of a process queue. Threads that begin later share one arena for good. Without
    glibc this does nothing.
    """
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_ARENA_MAX, 1)  # the arena of a thread cannot hold several large arrays
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, 1 << 16)
        libc.mallopt(_MMAP_THRESHOLD, _MAPPED)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _MAPPED)
        libc.malloc_trim(0)
