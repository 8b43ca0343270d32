"""The finished scans of a store that is being built.

The pixels are appended to one pair of files in the order of the scans, and a JSON file for each scan says which bytes
are its own. A run that is killed leaves both; the next one copies what is finished into a new pair, so that the bytes
do not depend on when it was killed, and a run that is not disturbed writes every pixel once.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from anyadbench.data.store.pixels import IMAGES, MASKS
from anyadbench.files import growing_file, make_folder, write_text

_FOLDER = "pixels-"

META = frozenset({
    "scan", "subject", "timepoint", "person", "sequences", "shape", "row", "slices", "shas", "index", "hashes", "files",
    "problems",
})  # fmt: skip
"""What a scan's JSON file says besides the place of its pixels, see ``anyadbench.data.store.extract.extract``."""


class Parts:
    """Adds scans to a new pair of files; use as a context.

    Attributes:
        folder: The folder of the pair, which becomes the store.
    """

    def __init__(self, work: Path) -> None:
        self.metas = work / "parts"
        make_folder(self.metas)
        used = set()
        for path in self.metas.glob("*.json"):
            meta = _whole(path, work)
            if meta is None:
                path.unlink()  # a power failure may leave a file without its content: the scan is read again
            else:
                used.add(meta["folder"])
        number = 0
        for folder in work.glob(f"{_FOLDER}*"):
            own = folder.name.removeprefix(_FOLDER)
            number = max(number, 1 + int(own)) if own.isdecimal() else number
            if folder.name not in used:
                shutil.rmtree(folder)
        self._work = work
        self.folder = work / f"{_FOLDER}{number}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        make_folder(self.folder)
        self._files = [self._stack.enter_context(growing_file(self.folder / name)) for name in (IMAGES, MASKS)]
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def finished(self, name: str) -> bool:
        """Whether a run, this one or an earlier one, has written a scan."""
        return self._meta(name).is_file()

    def add(self, name: str, meta: Mapping[str, Any], pixels: tuple[bytes, bytes]) -> Path:
        """Append a scan's pixels and write its JSON file, whose path is returned."""
        extents = []
        for file, data in zip(self._files, pixels, strict=True):
            extents.append([file.tell(), len(data)])
            file.write(data)
            file.flush()  # the JSON file describes bytes that have left this process
        path = self._meta(name)
        value = {**meta, "folder": self.folder.name, "extents": extents}
        write_text(path, json.dumps(value, separators=(",", ":")), fsync=False)
        return path

    def keep(self, name: str) -> Path:
        """Append the pixels of a scan that is finished."""
        meta = read_meta(self._meta(name))
        pair = []
        for file, (start, size) in zip((IMAGES, MASKS), meta["extents"], strict=True):
            with (self._work / meta["folder"] / file).open("rb") as old:
                pair.append(os.pread(old.fileno(), size, start))
        return self.add(name, meta, (pair[0], pair[1]))

    def _meta(self, name: str) -> Path:
        return self.metas / f"{name}.json"


def _whole(path: Path, work: Path) -> dict[str, Any] | None:
    """Return what a JSON file says of a finished scan; ``None`` if it or the scan's pixels are not all there."""
    try:
        meta = read_meta(path)
        for file, (start, size) in zip((IMAGES, MASKS), meta["extents"], strict=True):
            if start < 0 or size < 0 or start + size > (work / meta["folder"] / file).stat().st_size:
                return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return meta if meta.keys() >= META else None


def read_meta(path: Path) -> dict[str, Any]:
    """Return everything about a finished scan except its pixels."""
    meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return meta
