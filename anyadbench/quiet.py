"""Warnings that libraries give about a file without its name: not shown while this project reads the file."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_saved: list[warnings.catch_warnings[None]] = []
_readers = 0


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop all warnings: libraries blame their callers, so that a module is no criterion.

    Nests, and several threads may be inside at a time. The filters are the process's own:
    ``warnings.catch_warnings`` in several threads at once would leave them changed, so the first thread saves them and
    the last one puts them back.
    """
    global _readers
    with _lock:
        if not _readers:
            saved = warnings.catch_warnings()
            saved.__enter__()
            _saved.append(saved)
            warnings.simplefilter("ignore")
        _readers += 1
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _saved.pop().__exit__(None, None, None)
