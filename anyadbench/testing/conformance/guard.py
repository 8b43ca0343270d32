"""Watching what a method does to files and the network.

Python reports such actions to audit hooks before they happen. C code that opens files itself bypasses them, so the kit
also inspects the folders that it gives a method. This catches mistakes, not malice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.mkdir": (0, 2), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.rename": (1, 3), "os.symlink": (1, 2),
    "os.link": (1, 3), "os.truncate": (0, None),
}  # fmt: skip
"""Position of the path and of its folder's descriptor among an event's arguments."""
_NETWORK = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
_SYSTEM = ("/dev/", "/proc/")
MOST = 20


class Guard:
    """Records writes outside a folder, reads inside a forbidden one, and the use of the network.

    Attributes:
        writes: One sentence per write outside ``allowed``.
        reads: One sentence per file opened below ``forbidden``.
        network: One sentence per attempt; each is refused.
    """

    def __init__(self, allowed: Path, forbidden: Sequence[Path]) -> None:
        self.allowed = os.path.realpath(allowed)
        self.forbidden = tuple(os.path.realpath(path) for path in forbidden)
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.network: list[str] = []
        self._watching = False
        sys.addaudithook(self._hook)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the code inside the ``with`` block."""
        before, self._watching = self._watching, True
        try:
            yield
        finally:
            self._watching = before

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "open":
            self._opened(arguments)
        elif event in _CHANGES:
            place, folder = _CHANGES[event]
            self._changed(event, _full(arguments[place], None if folder is None else arguments[folder]))
        elif event in _NETWORK:
            self._connected(event, arguments)

    def _opened(self, arguments: tuple[Any, ...]) -> None:
        path, flags = arguments[0], arguments[2]
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor that is open already
        full = _full(path, None)
        if isinstance(flags, int) and flags & _WRITING:
            self._changed("open for writing", full)
        elif _below(full, self.forbidden):
            _note(self.reads, f"opened {full}")

    def _changed(self, action: str, full: str) -> None:
        compiled = "__pycache__" in full  # Python's own doing
        if not (compiled or _below(full, (self.allowed,)) or full.startswith(_SYSTEM)):
            _note(self.writes, f"{action}: {full}")

    def _connected(self, event: str, arguments: tuple[Any, ...]) -> None:
        where = arguments[-1] if event in ("socket.connect", "socket.sendto") else arguments[0]
        if event in ("socket.connect", "socket.sendto") and not isinstance(where, tuple):
            return  # a Unix socket of this machine
        _note(self.network, f"{event} to {where!r}")
        raise ConnectionRefusedError("The conformance kit allows no use of the network.")


def _note(found: list[str], text: str) -> None:
    if text not in found and len(found) < MOST:
        found.append(text)


def _full(path: Any, folder: Any) -> str:
    text = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    # The last part may be a link that is itself created or removed.
    head, tail = os.path.split(os.path.abspath(text))
    return os.path.join(os.path.realpath(head), tail)


def _below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root + os.sep) for root in roots)
