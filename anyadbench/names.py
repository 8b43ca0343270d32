"""Names of files: the one rule for those that a system leaves in folders, and for those that are not UTF-8."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = frozenset({
    "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "$recycle.bin", "system volume information",
    "lost+found", "@eadir",
})  # fmt: skip


def readable(name: str) -> str:
    """Return a name as text that every file and terminal takes; bytes that are not UTF-8 are shown as ``\\xe9``."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character of UTF-16, which no file name of this system contains
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def readable_values(value: Any) -> Any:
    """Return plain values with every text in them ``readable``: strict parsers of JSON refuse half a character."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, Mapping):
        return {readable_values(key): readable_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(readable_values, value))
    return value


@contextmanager
def plain_path(path: Path) -> Iterator[str]:
    """Yield a path of a file or folder for a library that takes only UTF-8: a link elsewhere if its own is not UTF-8.

    What lies in such a folder is linked under plain names too; its order by name stays.
    """
    inside = sorted(path.iterdir()) if path.is_dir() else []
    if all(_is_utf8(str(each)) for each in [path, *inside]):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plain"
        if not path.is_dir():
            target.symlink_to(os.path.abspath(path))
        else:
            target.mkdir()
            for number, each in enumerate(inside):
                (target / f"{number:06d}{each.suffix if _is_utf8(each.suffix) else ''}").symlink_to(each.resolve())
        yield str(target)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_junk(name: str) -> bool:
    """Whether a name is hidden (``.DS_Store``, ``._scan.nii``), a lock of Office (``~$table.csv``), or a system's."""
    return name.startswith((".", "~$")) or name.lower() in _NAMES


def entries(folder: Path) -> list[Path]:
    """Return what a folder holds, sorted by name, without junk."""
    return sorted(path for path in folder.iterdir() if not is_junk(path.name))


def files_below(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the files below a folder that match a pattern, sorted, without junk and what lies in junk folders."""
    for path in sorted(folder.rglob(pattern)):
        if path.is_file() and not any(is_junk(part) for part in path.relative_to(folder).parts):
            yield path
