"""Files and folders: the one atomic writer, the one lock, and the one sentence for an error of the operating system.

``os.replace`` and ``flock`` occur here only. Writers of other libraries get a file that ``atomic_file`` opened: a disk
that fills up then raises an ``OSError`` in Python, whatever the library makes of it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from anyadbench.errors import DiskError, UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CACHE = "ANYADBENCH_CACHE"
"""What chooses the cache folder, for the sentences about it."""

LOCK_INTERVAL = 0.2
"""Seconds between attempts to acquire a lock."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY,
    errno.EBUSY, errno.EXDEV, errno.EFBIG, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp")

_HELD: set[int] = set()
"""Descriptors of the locks that this process holds."""


def explain_os_error(error: OSError, path: Path, option: str = "--runs") -> DiskError | OSError:
    """Turn a full disk or a missing permission into a sentence; return any other error as it is.

    Args:
        error: The system's error.
        path: What was being written.
        option: Name of the option or environment variable by which the user chose the folder; empty if there is none.
    """
    choose = _choose(option)
    if error.errno in _FULL:
        sentence = (
            f"The disk is full while writing {path}; free some space, or {choose} a folder on another disk, and run "
            "the same command again: finished work is kept."
        )
    elif error.errno in _REFUSED:
        sentence = f"{path} cannot be written ({error.strerror}); {choose} a folder that you may write to."
    else:
        return error
    return DiskError(sentence, path, error)


def variable_of(path: Path) -> str:
    """Return the environment variable that names a folder which a path is in, the innermost one; empty if none does."""
    found = {name: Path(value) for name, value in os.environ.items() if value.startswith("/") and name != "TMPDIR"}
    inside = [name for name, folder in found.items() if folder != Path("/") and path.is_relative_to(folder)]
    return max(inside, key=lambda name: len(found[name].parts), default="")


def _choose(option: str) -> str:
    return f"give {option}" if option.startswith("-") else f"set {option} to" if option else "name"


@contextmanager
def lock(
    path: Path, *, wait: bool = True, waiting: Callable[[], None] = lambda: None, option: str = "--runs"
) -> Iterator[bool]:
    """Hold a lock on a file; yields whether it was acquired (always, with ``wait``).

    The operating system releases the lock when the process ends, however it ends. A process forked in the meantime
    does not share it.

    Args:
        path: The lock file; it and its folder are created.
        wait: Whether to wait for a process that holds it.
        waiting: Called again and again while waiting; it may raise to give up.
        option: What chose the folder, see ``explain_os_error``.
    """
    make_folder(path.parent, option)
    while True:
        descriptor = _try_lock(path, option)
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


def _try_lock(path: Path, option: str = "--runs") -> int | None:
    """Return a locked descriptor of the file, or ``None`` if another process holds it."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explain_os_error(error, path, option) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            cause = f"{path} cannot be locked ({error.strerror})"
            raise UserError(f"{cause}; {_choose(option)} a folder on a file system that has locks.") from None
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


class _Recorder(io.FileIO):
    """A file that remembers the system's refusal to write, which other libraries replace by errors of their own."""

    refusal: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.refusal = error
            raise


@contextmanager
def atomic_file(path: Path, option: str = "--runs", *, fsync: bool = True) -> Iterator[BinaryIO]:
    """Write a binary file under a temporary name beside it and rename it: it is never seen half written.

    If anything fails, the temporary file is removed and an older file of that name stays as it is. The file may be
    read by whoever the umask allows.

    Args:
        path: The file, in a folder that is there.
        option: What chose the folder, see ``explain_os_error``.
        fsync: Whether the bytes are on the disk before the file gets its name, so that a power failure leaves it whole.

    Raises:
        UserError: If the disk is full or the file cannot be written, whatever error the writer made of that.
    """
    raw = _temporary_file(path, option)
    temporary = Path(os.fsdecode(raw.name))
    handle = io.BufferedWriter(raw)
    try:
        yield handle
        handle.flush()
        if fsync:
            os.fsync(raw.fileno())
        handle.close()
        os.replace(temporary, path)
    except Exception as error:
        refusal = raw.refusal or _refusal(error, raw, temporary)
        if refusal is None:
            raise
        raise explain_os_error(refusal, path, option) from None
    finally:
        with suppress(OSError, ValueError):
            handle.close()  # what it still buffers may not fit on the disk
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_text(path: Path, option: str = "--runs", *, fsync: bool = True) -> Iterator[TextIO]:
    """Write a text file in UTF-8 as ``atomic_file`` does; line ends are written as they are."""
    with atomic_file(path, option, fsync=fsync) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", errors="backslashreplace", newline="")
        try:
            yield text
            text.flush()
        finally:
            with suppress(OSError, ValueError):
                text.detach()  # else it would close the file when it is collected


@contextmanager
def growing_file(path: Path, option: str = "--runs") -> Iterator[BinaryIO]:
    """Write a new file piece by piece under its own name, for a reader who knows how many of its bytes count.

    Raises:
        UserError: If the disk is full or the file cannot be written.
    """
    try:
        raw = _Recorder(path, "wb")
    except OSError as error:
        raise explain_os_error(error, path, option) from None
    handle = io.BufferedWriter(raw)
    try:
        yield handle
        handle.close()
    except OSError as error:
        raise explain_os_error(raw.refusal or error, path, option) from None
    finally:
        with suppress(OSError, ValueError):
            handle.close()


def _temporary_file(path: Path, option: str) -> _Recorder:
    """Make a file beside ``path`` and lock it, by which ``remove_leftovers`` knows that somebody writes it."""
    while True:
        try:
            raw = _Recorder(temporary_name(path), "xb")
        except OSError as error:
            raise explain_os_error(error, path, option) from None
        try:
            fcntl.flock(raw.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it is just being removed
            raw.close()
            continue
        except OSError:
            pass  # a file system without locks
        if os.fstat(raw.fileno()).st_nlink:
            return raw
        raw.close()


def temporary_name(path: Path) -> Path:
    """Return a name beside a path, under which nobody looks for it."""
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(4)}.tmp"


def _refusal(error: Exception, raw: _Recorder, temporary: Path) -> OSError | None:
    """Return the system's refusal behind an error; a library may have written past ``raw``, to its descriptor."""
    if isinstance(error, OSError) and concerns(error, temporary):
        return error
    if raw.closed or isinstance(error, UserError):
        return None
    try:
        raw.seek(0, os.SEEK_END)
        for _ in range(2):  # the first may fill what is left of the last block
            raw.write(bytes(4096))
        os.fsync(raw.fileno())
    except OSError as refusal:
        return refusal
    return None


def concerns(error: OSError, path: Path) -> bool:
    """Return whether an error is about a full disk, or about a path or what is below it."""
    if error.errno in _FULL:
        return True
    return isinstance(error.filename, (str, bytes)) and Path(os.fsdecode(error.filename)).is_relative_to(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder; those that a process is writing stay."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            with suppress(OSError, UserError):
                if not is_locked(path):
                    path.unlink(missing_ok=True)


def rename(source: Path, target: Path, option: str = "--runs") -> None:
    """Give a file or folder its final name in one step; a file of that name is replaced.

    Raises:
        UserError: If that cannot be done.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        raise explain_os_error(error, target, option) from None


def make_folder(path: Path, option: str = "--runs") -> None:
    """Create a folder and its parents; ``option`` is the option that named it, see ``explain_os_error``.

    Raises:
        UserError: If it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        in_the_way = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        raise explain_os_error(in_the_way, path, option) from None
    except OSError as error:
        raise explain_os_error(error, path, option) from None


def copy_file(source: Path, target: Path, option: str = "--runs") -> None:
    """Copy what a file holds, see ``atomic_file``."""
    with open(source, "rb") as original, atomic_file(target, option) as copy:
        shutil.copyfileobj(original, copy, 1 << 20)


def link_or_copy(source: Path, target: Path, option: str = "--runs") -> None:
    """Put a file into another folder as a hard link, or as a copy where links are not possible."""
    temporary = temporary_name(target)
    try:
        os.link(source, temporary)
        os.replace(temporary, target)
    except OSError:
        copy_file(source, target, option)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # renaming does nothing where both names are of one file already


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
    """Write a JSON object, see ``atomic_file``."""
    write_bytes(path, json_bytes(value), option)


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as ``write_json`` writes it."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("utf-8")


def write_text(path: Path, text: str, option: str = "--runs", *, fsync: bool = True) -> None:
    """Write a text file in UTF-8, see ``atomic_file``; of a name that is not UTF-8, such bytes are shown as escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), option, fsync=fsync)


def write_bytes(path: Path, data: bytes, option: str = "--runs", *, fsync: bool = True) -> None:
    """Write a file, see ``atomic_file``."""
    with atomic_file(path, option, fsync=fsync) as handle:
        handle.write(data)


def write_together(
    files: Mapping[Path, bytes | Callable[[BinaryIO], object]],
    option: str = "--runs",
    written: Callable[[], None] = lambda: None,
) -> None:
    """Write several files, all of them or, where the disk gets full, none; they get their names in the given order.

    Args:
        files: What each file holds, or what writes it.
        option: What chose their folders, see ``explain_os_error``.
        written: Called when all are on the disk, before the first gets its name.

    Raises:
        UserError: If the disk is full or a file cannot be written.
    """
    with ExitStack() as stack:  # which leaves the files in the opposite order
        for path, content in reversed(list(files.items())):
            handle = stack.enter_context(atomic_file(path, option))
            handle.write(content) if isinstance(content, bytes) else content(handle)
            handle.flush()
            os.fsync(handle.fileno())
        written()


def write_note(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object into the cache that saves time later; a cache that cannot be written is no error."""
    with suppress(OSError, UserError):
        make_folder(path.parent, CACHE)
        write_text(path, json.dumps(value), CACHE, fsync=False)
