"""Names of files: the one rule for those that a system leaves in folders, and for those that are not UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
