"""Files and folders: the one atomic writer, the one lock, and the one sentence for an error of the operating system.

``os.replace``, ``flock`` and ``umask`` occur here only.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anyadbench.errors import UserError

LOCK_INTERVAL = 0.2
"""Seconds between attempts to acquire a lock."""

_HELD: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def lock(path: Path, *, wait: bool = True, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold a lock on a file; yields whether it was acquired (always, with ``wait``).

    The operating system releases the lock when the process ends, however it ends. A process forked in the meantime
    does not share it.

    Args:
        path: The lock file; it and its folder are created.
        wait: Whether to wait for a process that holds it.
        waiting: Called again and again while waiting; it may raise to give up.
    """
    make_folder(path.parent)
    while True:
        descriptor = _try_lock(path)
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


def is_locked(path: Path) -> bool:
    """Return whether any process holds the lock on a file now."""
    if not path.is_file():
        return False
    descriptor = _try_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def rename(source: Path, target: Path, option: str = "--runs") -> None:
    """Give a file or folder its final name in one step; a file of that name is replaced.

    Raises:
        UserError: If that cannot be done.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        raise explain_os_error(error, target, option) from None


def _try_lock(path: Path) -> int | None:
    """Return a locked descriptor of the file, or ``None`` if another process holds it."""
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
    # A forked process inherits its parent's locks and would hold them after the parent ends.
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_drop_locks)


def make_folder(path: Path, option: str = "--runs") -> None:
    """Create a folder and its parents; ``option`` is the option that named it, see ``explain_os_error``.

    Raises:
        UserError: If it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, path, option) from None


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
