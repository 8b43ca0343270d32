"""Where protocols come from: the built-in files, plugins, and the user's files."""

from __future__ import annotations

import os
from pathlib import Path

from anyadbench.errors import UserError, suggest
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol

_BUILTIN = Path(__file__).parent / "builtin"


def protocol_files(extra: tuple[Path, ...] = ()) -> dict[str, Path]:
    """Return the file of each known protocol by name (the file's stem).

    Args:
        extra: Files that plugins add.

    Raises:
        UserError: If two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in [*sorted(_BUILTIN.glob("*.toml")), *extra]:
        if path.stem in found:
            raise UserError(f"Two protocols are called {path.stem!r}: {found[path.stem]} and {path}; rename one.")
        found[path.stem] = path
    return dict(sorted(found.items()))


def find_protocol(name: str, extra: tuple[Path, ...] = ()) -> Protocol:
    """Return a protocol by name, or from a path that ends in ``.toml``.

    Raises:
        UserError: If no protocol has that name, or its file is wrong.
    """
    if name.endswith(".toml"):
        return read_protocol(Path(os.path.expanduser(name)))
    files = protocol_files(extra)
    if name not in files:
        raise UserError(
            f"Unknown protocol {name!r}.{suggest(name, list(files))} Give a protocol of your own as a path that ends "
            "in .toml."
        )
    return read_protocol(files[name])
