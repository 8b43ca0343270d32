"""Folders of fits and cells: names, states, locks, and atomic completion.

A folder is worked on under its name with ``.partial`` appended and renamed when it is complete, so a folder without
that ending is always whole. A lock file beside it keeps a second process out while one is at work.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyadbench.errors import UserError

PARTIAL = ".partial"
LOCK_INTERVAL = 0.2
"""Seconds between two tries to get a lock."""


@dataclass(frozen=True)
class WorkFolder:
    """The folder of one fit or cell.

    Attributes:
        final: Where it stands when complete.
        record: Name of the JSON file with its state, ``fit.json`` or ``cell.json``.
    """

    final: Path
    record: str

    @property
    def work(self) -> Path:
        """Where it stands while it is being made."""
        return self.final.with_name(self.final.name + PARTIAL)

    @property
    def done(self) -> bool:
        """Whether the complete folder is there."""
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
        try:
            os.replace(self.work, self.final)
        except OSError as error:
            raise explain_os_error(error, self.final) from None

    @property
    def lock_file(self) -> Path:
        """The file that a process at work on the folder holds a lock on."""
        return self.final.with_name(f".{self.final.name}.lock")

    @contextmanager
    def lock(self, *, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
        """Hold the folder's lock; yields whether it was had (always, with ``wait``).

        The operating system frees it when the process ends, however it ends. A process that is forked off meanwhile
        does not share it.

        Args:
            wait: Whether to wait for a process that holds it.
            waiting: Called again and again while it is waited for; it may raise to give up.
        """
        make_folder(self.final.parent)
        while True:
            descriptor = _try_lock(self.lock_file)
            if descriptor is not None:
                break
            if not wait:
                yield False
                return
            waiting()
            time.sleep(LOCK_INTERVAL)
        _HELD.add(descriptor)
        try:
            yield True
        finally:
            if descriptor in _HELD:  # not in a forked process
                _HELD.discard(descriptor)
                os.close(descriptor)

    @property
    def held(self) -> bool:
        """Whether some process is at work on the folder now."""
        if not self.lock_file.is_file():
            return False
        descriptor = _try_lock(self.lock_file)
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


_HELD: set[int] = set()
"""Descriptors of the locks that this process holds."""


def _try_lock(path: Path) -> int | None:
    """Return a locked descriptor of the file, or ``None`` if another process holds it."""
    import fcntl

    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explain_os_error(error, path) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise UserError(
                f"{path} cannot be locked ({error.strerror}); give --runs on a file system that has locks."
            ) from None
        # Whoever had the lock before may have removed the file: then the lock is on a file that nobody else sees.
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _drop_locks() -> None:
    # A forked process shares the locks of its parent and would keep them after the parent's death.
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_drop_locks)


def make_folder(path: Path, option: str = "--runs") -> None:
    """Make a folder and those above it; ``option`` is what the user gave, see ``explain_os_error``.

    Raises:
        UserError: If that cannot be done.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, path, option) from None


def fit_folder(runs: Path, fit_id: str, method: str) -> WorkFolder:
    """Return the folder of a fit."""
    return WorkFolder(runs / "fits" / f"{_safe(method)}-{fit_id[:16]}", "fit.json")


def cell_folder(runs: Path, cell_id: str, method: str, protocol: str, seed: int) -> WorkFolder:
    """Return the folder of a cell."""
    return WorkFolder(runs / "cells" / f"{_safe(method)}_{_safe(protocol)}_s{seed}_{cell_id[:16]}", "cell.json")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); remove its folder and run again.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; remove its folder and run again.")
    return value


def write_json(path: Path, value: Mapping[str, Any], option: str = "--runs") -> None:
    """Write a JSON object under a temporary name and rename it."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", option)


def write_text(path: Path, text: str, option: str = "--runs") -> None:
    """Write a text file under a temporary name and rename it, so that it is never seen half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain_os_error(error, path, option) from None


def explain_os_error(error: OSError, path: Path, option: str = "--runs") -> UserError | OSError:
    """Turn a full disk or a missing permission into a sentence; return any other error as it is.

    Args:
        error: What the system said.
        path: What was being written.
        option: Name of the option by which the user chose the folder.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"The disk is full while writing {path}; free some space (or give {option} on another disk) and run the "
            "same command again: it resumes."
        )
    if error.errno in (
        errno.EACCES,
        errno.EROFS,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENOENT,
        errno.ENOTEMPTY,
    ):
        return UserError(f"{path} cannot be written ({error.strerror}); give {option} a folder that you may write to.")
    return error


def now() -> str:
    """Return the time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
