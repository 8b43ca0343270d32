"""Hashes of files and of plain values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 lower-case hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files of a folder."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return stable_hash([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files])


def python_files(path: Path) -> list[Path]:
    """Return the file itself, or every Python file below a folder in sorted order; hidden files do not count."""
    if path.suffix == ".py":
        return [path]
    found = (file.relative_to(path) for file in path.rglob("*.py"))
    return [path / file for file in sorted(found) if not any(part.startswith(".") for part in file.parts)]


def sha256_code(files: Iterable[tuple[Path, Path]]) -> str:
    """Return the SHA-256 over files' names and contents; each file comes with the folder that its name starts from."""
    digest = hashlib.sha256()
    for path, base in files:
        digest.update(path.relative_to(base).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stable_hash(obj: object) -> str:
    """Return the SHA-256 (64 hex digits) of a value's canonical JSON.

    Keys are sorted, there is no white space, text is ASCII-escaped and floats are written as ``repr`` writes them, so
    the hash depends on the value alone: not on the machine, the order of keys or the Python version. A tuple counts as
    a list; ``1``, ``1.0`` and ``True`` are three different values.

    Raises:
        TypeError: If something in it is not ``dict`` with ``str`` keys, ``list``, ``tuple``, ``str``, ``int``,
            ``float``, ``bool`` or ``None``. Subclasses are refused too: this project cannot promise how an enumeration
            or a NumPy scalar prints.
        ValueError: If a float is NaN or infinite.
    """
    _check(obj, "value")
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _check(obj: Any, where: str) -> None:
    kind = type(obj)
    if kind is dict:
        for key, value in obj.items():
            if type(key) is not str:
                raise TypeError(
                    f"{where} has the key {key!r} of type {type(key).__name__}; a hashed mapping has text keys."
                )
            _check(value, f"{where}[{key!r}]")
    elif kind is list or kind is tuple:
        for index, value in enumerate(obj):
            _check(value, f"{where}[{index}]")
    elif kind is float:
        if not math.isfinite(obj):
            raise ValueError(f"{where} is {obj!r}; only finite numbers can be hashed.")
    elif obj is not None and kind not in (str, int, bool):
        raise TypeError(f"{where} is a {kind.__name__}; only plain JSON values can be hashed.")
