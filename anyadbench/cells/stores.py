"""Where the data sets of a protocol are stored: the user's folders, and the slice stores made from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from anyadbench.data.phantom import digest, generate
from anyadbench.data.phantom.embedded import EMBEDDED, embedded
from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.store.verified import check_store
from anyadbench.data.trees.layouts import LAYOUTS
from anyadbench.errors import UserError
from anyadbench.files import CACHE
from anyadbench.paths import cache_dir
from anyadbench.plugins import find_layout
from anyadbench.progress import Progress
from anyadbench.protocols.model import Protocol
from anyadbench.sequences import SHORT


def locate(protocol: Protocol, data: tuple[str, ...]) -> dict[str, Path]:
    """Return the source folder of each data set that the protocol reads; the phantoms need none.

    Args:
        protocol: The protocol.
        data: Values of ``--data``: ``DIR`` for a protocol with one data set, ``NAME=DIR`` for each of several.

    Raises:
        UserError: If a folder is missing, or a data set has none.
    """
    wanted = protocol.datasets
    given: dict[str, Path] = {}
    for item in data:
        name, separator, folder = item.partition("=")
        if not (separator and (name in wanted or name in LAYOUTS)):  # a path may hold an equals sign itself
            if len(wanted) > 1:
                raise UserError(
                    f"Protocol {protocol.name} reads the data sets {', '.join(wanted)}; give --data NAME=DIR for each."
                )
            name, folder = wanted[0], item
        if name not in wanted:
            raise UserError(f"--data {item}: protocol {protocol.name} reads {', '.join(wanted)}, not {name!r}.")
        if name in given:
            raise UserError(f"--data gives two folders for {name!r}; put all patients below one folder and give that.")
        if not folder:
            raise UserError(f"--data {item}: the folder is empty; give --data {name}=DIR.")
        given[name] = Path(os.path.expanduser(folder))  # unlike Path's, it leaves an unknown ~user as it is
    for name, path in given.items():
        if not path.is_dir():
            raise UserError(f"--data {path}: there is no such folder; give the folder of the data set {name!r}.")
    for name in wanted:
        if name not in given and name not in EMBEDDED:
            raise UserError(
                f"Protocol {protocol.name} reads the data set {name!r}: give its folder with --data DIR "
                f"('anyadbench datasets show {name}' says where to get it)."
            )
    return given


def open_stores(protocol: Protocol, given: Mapping[str, Path], progress: Progress) -> dict[str, SliceStore]:
    """Return the slice store of each data set, generating phantoms and preparing trees where needed."""
    stores = {}
    for name in protocol.datasets:
        source = given.get(name)
        if source is None:
            source = embedded_phantom(name, progress, protocol.uses_healthy)
        store = find_or_prepare(source, find_layout(name), progress)
        _check_sequences(protocol, store, source)
        check_store(store, progress)
        stores[name] = store
    return stores


def _check_sequences(protocol: Protocol, store: SliceStore, source: Path) -> None:
    """Refuse a data set that lacks the sequences for its part in a protocol.

    Raises:
        UserError: If no scan has a sequence that is trained on, or none has a subset that is tested.
    """
    lacking = [name for name in protocol.sequences if name not in store.sequences]
    if lacking and store.dataset == protocol.train:
        names = " or ".join(SHORT[name] for name in lacking)
        raise UserError(
            f"{source}: no scan of {store.dataset} has {names}, which {protocol.name} trains on; use a data set that "
            "has it, or leave the sequence out in a protocol of your own."
        )
    for test in protocol.tests:
        if test.dataset != store.dataset:
            continue
        needs = [{test.feed.get(name, name) for name in subset} for subset in test.subsets or protocol.subsets]
        has = store.availability(store.sequences)
        own = [{name for name, there in zip(store.sequences, row, strict=True) if there} for row in has]
        if not any(need <= scan for need in needs for scan in own):
            names = " or ".join(sorted({"+".join(SHORT[n] for n in SHORT if n in need) for need in needs}))
            raise UserError(
                f"{source}: no scan of {store.dataset} has {names}, which {protocol.name} tests; use a data set that "
                "has it."
            )


def embedded_phantom(name: str, progress: Progress, healthy: bool) -> Path:
    """Return the folder of an embedded phantom, with its healthy subjects or without, generated the first time."""
    spec = embedded(name, healthy)
    root = cache_dir() / "phantom" / digest(spec)[:16]
    label = f"making the data set {name}"
    return generate(root, spec, lambda done, total: progress(done, total, label), workers=2, option=CACHE)
