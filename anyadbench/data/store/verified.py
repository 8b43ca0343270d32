"""A record of the stores that were checked against their hashes, so that each is read in full only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anyadbench.data.store.pixels import FILES
from anyadbench.data.store.store import SliceStore
from anyadbench.files import write_note
from anyadbench.hashing import stable_hash
from anyadbench.paths import cache_dir
from anyadbench.progress import Progress


def check_store(store: SliceStore, progress: Progress | None = None) -> None:
    """Check every slice against its hash, unless that was done since the arrays were last written.

    Raises:
        UserError: If a slice was changed after the store was made.
    """
    if _read(_note(store)) != _state(store):
        store.verify_slices(progress=progress)
        remember(store)


def remember(store: SliceStore) -> None:
    """Note that a store is as it was made."""
    write_note(_note(store), _state(store))


def _note(store: SliceStore) -> Path:
    return cache_dir() / "checked" / f"{stable_hash(str(store.path))[:32]}.json"


def _state(store: SliceStore) -> dict[str, Any]:
    files = [(store.path / name).stat() for name in FILES]
    return {
        "content": store.content_hash,
        "files": [[file.st_size, file.st_mtime_ns, file.st_ctime_ns, file.st_ino] for file in files],
    }


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
