"""SHA-256 of weight files, computed once per file and remembered in the cache folder."""

from __future__ import annotations

import json
from pathlib import Path

from anyadbench.files import write_note
from anyadbench.hashing import sha256_file, stable_hash
from anyadbench.paths import cache_dir


def cached_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, read again only if its path, size or modification time has changed."""
    real = Path(path).resolve()
    stat = real.stat()
    key: list[str | int] = [str(real), stat.st_size, stat.st_mtime_ns]
    note = cache_dir() / "sha256" / f"{stable_hash(key)}.json"
    known = _read(note, key)
    if known is None:
        known = sha256_file(real)
        write_note(note, {"key": key, "sha256": known})
    return known


def _read(note: Path, key: list[str | int]) -> str | None:
    try:
        entry = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(entry, dict) or entry.get("key") != key:
        return None
    digest = entry.get("sha256")
    return digest if isinstance(digest, str) and len(digest) == 64 else None
