"""Boards that were built before from the same results by the same code.

A cache in ``ANYADBENCH_CACHE`` holds the last boards of each runs folder: their files, and what the terminal prints. It
counts only if the contents of all cells and tables, the package's own files, and the versions of the libraries are the
same. Boards to which a plugin adds metrics or sections are always built again, as nobody knows what these depend on.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.as_json import from_json, to_json
from anyadbench.errors import UserError
from anyadbench.files import CACHE, make_folder, write_bytes
from anyadbench.hashing import sha256_file, stable_hash
from anyadbench.paths import cache_dir

PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("numpy", "scipy", "pandas", "pydantic", "jinja2", "markupsafe", "pillow", "opencv-python-headless")
HOOKS = ("anyadbench_metrics", "anyadbench_report_sections")


@dataclass(frozen=True)
class Kept:
    """What one build wrote.

    Attributes:
        boards: Each board and the text of its files by name.
        index: The page with links to them.
    """

    boards: tuple[tuple[Board, Mapping[str, str]], ...]
    index: str


class BoardCache:
    """The cache of one runs folder.

    Args:
        runs: The runs folder.
        protocol: Name of the only protocol wanted.
        reported: Folder with tables from publications.
    """

    def __init__(self, runs: Path, protocol: str | None, reported: Path | None) -> None:
        place = [os.path.abspath(runs), protocol, None if reported is None else os.path.abspath(reported)]
        self._key = ""
        with suppress(OSError, UserError, PackageNotFoundError):
            self._file = cache_dir() / "boards" / stable_hash(place)[:32]
            if not _added_by_plugins():
                self._key = stable_hash([place, _files(runs / "cells"), _files(reported), _code(), _versions()])

    def read(self) -> Kept | None:
        """Return the boards if nothing has changed since they were built; a damaged cache counts as none."""
        if not self._key:
            return None
        try:
            head, _, body = self._file.read_bytes().partition(b"\n")
        except OSError:
            return None
        if head.decode("ascii", "replace").split() != [self._key, hashlib.sha256(body).hexdigest()]:
            return None
        try:
            boards, index = from_json(body.decode("utf-8"))
            return Kept(boards, index)
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    def write(self, kept: Kept) -> None:
        """Keep boards for the next call; a cache that cannot be written is no error."""
        if not self._key:
            return
        body = to_json((kept.boards, kept.index)).encode("utf-8")
        with suppress(OSError, UserError):
            make_folder(self._file.parent, CACHE)
            head = f"{self._key} {hashlib.sha256(body).hexdigest()}\n"
            write_bytes(self._file, head.encode("ascii") + body, CACHE, fsync=False)


def _added_by_plugins() -> bool:
    from anyadbench.plugins.hooks import HOUSE, hooks

    manager, broken = hooks()
    added = [one.plugin_name for hook in HOOKS for one in getattr(manager.hook, hook).get_hookimpls()]
    return bool(broken) or not set(added) <= set(HOUSE)


def _files(folder: Path | None) -> Sequence[Sequence[str]]:
    """Return the name and hash of every file of a folder.

    Raises:
        OSError: If one cannot be read, or is a link, whose target may change unseen.
    """
    found = []
    for path, folders, files in os.walk(folder) if folder is not None else ():
        for name in sorted((*folders, *files)):
            if os.path.islink(os.path.join(path, name)):
                raise OSError(f"{name} is a link")
        found += [[os.path.relpath(path, folder), name, sha256_file(os.path.join(path, name))] for name in files]
    return sorted(found)


def _code() -> Sequence[Sequence[str]]:
    """Return the name and hash of every file of the package: Python, templates, scripts and tables."""
    files = (path for path in sorted(PACKAGE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return [[path.relative_to(PACKAGE).as_posix(), sha256_file(path)] for path in files]


def _versions() -> Sequence[str]:
    return [platform.python_version(), *(version(name) for name in LIBRARIES)]
