"""Folders of fits and cells: names, states, locks, and atomic completion.

A folder is written under its name with ``.partial`` appended and renamed when it is complete, so a folder without that
suffix is always whole. A lock file next to it keeps out a second process while one is working on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyadbench.files import is_locked, lock, make_folder, read_json, rename, write_json

PARTIAL = ".partial"
PROGRESS = "progress.json"
"""File in a cell's working folder from which other processes read how far it is."""

TRACEBACK = "traceback.txt"
"""File in a failed cell's working folder with the traceback of its error."""


@dataclass(frozen=True)
class WorkFolder:
    """The folder of one fit or cell.

    Attributes:
        final: Its path when complete.
        record: Name of the JSON file with its state, ``fit.json`` or ``cell.json``.
    """

    final: Path
    record: str

    @property
    def work(self) -> Path:
        """Its path while it is being written."""
        return self.final.with_name(self.final.name + PARTIAL)

    @property
    def done(self) -> bool:
        """Whether the complete folder exists."""
        return (self.final / self.record).is_file()

    @property
    def current(self) -> Path:
        """The complete folder if there is one, else the working folder."""
        return self.final if self.done else self.work

    def state(self) -> dict[str, Any]:
        """Return the recorded state, empty if there is none."""
        return read_json(self.current / self.record) if (self.current / self.record).is_file() else {}

    def update(self, **values: Any) -> None:
        """Merge values into the recorded state of the working folder."""
        make_folder(self.work)
        write_json(self.work / self.record, {**self.state(), **values})

    def complete(self) -> None:
        """Rename the working folder to its final name."""
        rename(self.work, self.final)

    @property
    def lock_file(self) -> Path:
        """The file that a process locks while it works on the folder."""
        return self.final.with_name(f".{self.final.name}.lock")

    @contextmanager
    def lock(self, *, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
        """Hold the folder's lock; yields whether it was acquired, see ``files.lock``."""
        with lock(self.lock_file, wait=wait, waiting=waiting) as acquired:
            yield acquired

    @property
    def held(self) -> bool:
        """Whether a process is working on the folder now."""
        return is_locked(self.lock_file)


def fit_folder(runs: Path, fit_id: str, method: str) -> WorkFolder:
    """Return the folder of a fit."""
    return WorkFolder(runs / "fits" / f"{_safe(method)}-{fit_id[:16]}", "fit.json")


def cell_folder(runs: Path, cell_id: str, method: str, protocol: str, seed: int) -> WorkFolder:
    """Return the folder of a cell."""
    return WorkFolder(runs / "cells" / f"{_safe(method)}_{_safe(protocol)}_s{seed}_{cell_id[:16]}", "cell.json")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def now() -> str:
    """Return the time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
