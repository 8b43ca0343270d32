"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyadbench.errors import DiskError
from anyadbench.files import concerns, explain_os_error, make_folder, rename, temporary_name


@contextmanager
def temporary_folder(path: Path, option: str = "--runs", *, inside: bool = False) -> Iterator[Path]:
    """Yield a new folder beside a target, or inside it; whatever is still in it is removed at the end.

    An error of the system while it is filled names the target, since nobody ever sees the folder itself.

    Raises:
        UserError: If the disk is full or the folder cannot be written.
    """
    base = path if inside else path.parent
    temporary = temporary_name(base / path.name)
    with written_as(path, temporary, option):
        make_folder(base, option)
        try:
            temporary.mkdir()
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def written_as(path: Path, work: Path, option: str) -> Iterator[None]:
    """Let an error about a working folder, or about what is beside it, name the folder that is being made.

    Args:
        path: What the user knows.
        work: Where it is being made.
        option: What chose ``path``, see ``explain_os_error``.

    Raises:
        UserError: If the disk is full or something cannot be written.
    """
    try:
        yield
    except DiskError as error:
        if not error.path.is_relative_to(work.parent):
            raise
        raise explain_os_error(error.cause, path, option) from None
    except OSError as error:
        if not concerns(error, work):
            raise
        raise explain_os_error(error, path, option) from None


@contextmanager
def atomic_folder(path: Path, option: str = "--runs", *, replace: bool = False) -> Iterator[Path]:
    """Build a folder under a temporary name and rename it: it appears complete or not at all.

    A folder that is there must be empty. It may be a mount point or the current folder, so it is not replaced; what was
    built moves into it.

    Args:
        path: The folder to make.
        option: What chose it, see ``explain_os_error``.
        replace: Whether a folder that is there is replaced with all that it holds. It stays until the new one is whole.

    Raises:
        UserError: If the disk is full or the folder cannot be written.
    """
    inside = path.is_dir() and not replace
    with temporary_folder(path, option, inside=inside) as temporary:
        yield temporary
        if inside:
            for name in sorted(os.listdir(temporary)):
                rename(temporary / name, path / name, option)
        elif replace and os.path.lexists(path):
            aside = temporary_name(path)
            rename(path, aside, option)
            try:
                rename(temporary, path, option)
            except BaseException:
                rename(aside, path, option)
                raise
            aside.unlink() if aside.is_symlink() else shutil.rmtree(aside, ignore_errors=True)
        else:
            rename(temporary, path, option)
