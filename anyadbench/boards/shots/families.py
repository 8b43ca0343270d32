"""Which protocols differ only in how many subjects they train on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from anyadbench.errors import UserError
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.read import CellRecord


def families(records: Iterable[CellRecord]) -> dict[str, str]:
    """Return the family of each protocol by its hash; empty if no cell was trained on few subjects.

    The rules come from the cells' own copies of their protocols, so that protocols of users have families too.
    """
    found = [(record.folder, record.result.protocol) for record in records if record.result is not None]
    if not any(info.shots for _, info in found):
        return {}
    known: dict[str, str] = {}
    for folder, info in found:
        if info.hash not in known and (folder / "protocol.toml").is_file():
            try:
                protocol = read_protocol(folder / "protocol.toml")
            except UserError:
                continue  # the check of a submission names it
            if protocol.hash == info.hash:
                known[info.hash] = protocol.family
    return known


def relatives(records: Sequence[CellRecord], name: str, known: dict[str, str]) -> list[str]:
    """Return the names of the protocols that share a family with one of this name, itself first."""
    infos = [record.result.protocol for record in records if record.result is not None]
    own = {known[info.hash] for info in infos if info.name == name and info.hash in known}
    others = sorted({info.name for info in infos if known.get(info.hash) in own} - {name})
    return [name, *others]
