"""Where a protocol's data sets lie, and the slices that its rules choose from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.data.layouts import LAYOUTS
from anyadbench.data.part import percentile_column
from anyadbench.data.splits import Selection, select_slices, split_subjects
from anyadbench.data.store import SliceStore, find_or_prepare, open_store
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.paths import cache_dir
from anyadbench.plugins import find_layout
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.run.reading import SliceReader, usable_rows
from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray

Progress = Callable[[int, int, str], None]


def locate(protocol: Protocol, data: tuple[str, ...]) -> dict[str, Path]:
    """Return the source folder of each data set that the protocol reads; the phantom needs none.

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
        given[name] = Path(folder).expanduser()
    for name, path in given.items():
        if not path.is_dir():
            raise UserError(f"--data {path}: there is no such folder; give the folder of the data set {name!r}.")
    for name in wanted:
        if name not in given and name != "phantom":
            raise UserError(
                f"Protocol {protocol.name} reads the data set {name!r}: give its folder with --data DIR "
                f"('anyadbench datasets show {name}' says where to get it)."
            )
    return given


def open_stores(protocol: Protocol, given: Mapping[str, Path], progress: Progress) -> dict[str, SliceStore]:
    """Return the slice store of each data set, making the phantom and preparing trees where needed."""
    stores = {}
    for name in protocol.datasets:
        source = given.get(name)
        if source is None:
            source = embedded_phantom(progress)
        store = find_or_prepare(source, find_layout(name), progress)
        lacking = [sequence for sequence in protocol.sequences if sequence not in store.sequences]
        if len(lacking) == len(protocol.sequences):
            raise UserError(f"{source}: no scan has any of {', '.join(lacking)}, which {protocol.name} needs.")
        stores[name] = store
    return stores


def embedded_phantom(progress: Progress) -> Path:
    """Return the folder of the embedded phantom, generating it into the cache the first time."""
    from anyadbench.data.phantom import PhantomSpec, digest, generate

    spec = PhantomSpec()
    root = cache_dir() / "phantom" / digest(spec)[:16]
    return generate(root, spec, progress=lambda done, total: progress(done, total, "making the phantom"), workers=2)


@dataclass(frozen=True)
class ProtocolData:
    """The slices that a protocol trains and tests on.

    Attributes:
        protocol: The protocol.
        stores: Slice store by data set.
    """

    protocol: Protocol
    stores: Mapping[str, SliceStore] = field(default_factory=dict)

    @staticmethod
    def from_paths(protocol: Protocol, paths: Mapping[str, str]) -> ProtocolData:
        """Open the stores at ``paths``."""
        return ProtocolData(protocol, {name: open_store(Path(path)) for name, path in paths.items()})

    @cached_property
    def selections(self) -> dict[str, Selection]:
        """The chosen slices of each data set."""
        return {name: self._select(store) for name, store in self.stores.items()}

    def _select(self, store: SliceStore) -> Selection:
        rules = self.protocol.split
        subjects = store.scans["subject"].tolist()
        cover: dict[str, frozenset[str]] | None = None
        if rules.cover_subsets:
            cover = {}
            for subject, has in zip(subjects, store.availability(self.protocol.sequences), strict=True):
                own = {name for name, there in zip(self.protocol.sequences, has, strict=True) if there}
                served = {format_subset(subset) for subset in self.protocol.subsets if set(subset) <= own}
                cover[subject] = cover.get(subject, frozenset()) | served
        split = split_subjects(subjects, rules, cover)
        roles = [test for test in self.protocol.tests if test.dataset == store.dataset]
        if any(test.split == "all" for test in roles):
            split = dict.fromkeys(split, "test")
        need = ["train"] * (store.dataset == self.protocol.train) + ["test"] * bool(roles)
        return select_slices(store, self.protocol.slices, split, need)

    def reader(
        self, dataset: str, feed: Mapping[str, str] | None = None, sequences: Subset | None = None
    ) -> SliceReader:
        """Return a reader of one data set, of the protocol's sequences or of those given."""
        chosen = sequences or self.protocol.sequences
        return SliceReader(self.stores[dataset], chosen, self.protocol.intensity, dict(feed or {}))

    def train_rows(self, subset: Subset | None = None) -> Int[ndarray, " N"]:
        """Return the store rows of the training normals that have any of the protocol's sequences, or all of a subset.

        Raises:
            UserError: If there is none.
        """
        normals = self.selections[self.protocol.train].train_normals
        reader = self.reader(self.protocol.train, sequences=subset)
        rows = usable_rows(reader, normals)
        if subset is not None:
            rows = rows[reader.present(rows).all(1)]
            if not len(rows):
                raise UserError(
                    f"--missing retrain: no training slice of {self.protocol.name} has all of {format_subset(subset)}; "
                    "leave this subset out in a protocol of your own."
                )
        if not len(rows):
            raise UserError(
                f"{self.stores[self.protocol.train].path}: no lesion-free training slice is left under the slice rules "
                f"of {self.protocol.name}; add patients or relax slices.normal_margin in a protocol of your own."
            )
        return rows

    def validation_rows(self) -> Int[ndarray, " N"]:
        """Return the store rows of the validation normals."""
        return usable_rows(self.reader(self.protocol.train), self.selections[self.protocol.train].val_normals)

    def test_rows(self, test: TestSet) -> tuple[Int[ndarray, " N"], Int[ndarray, " M"]]:
        """Return the store rows of a test set's normal and abnormal slices."""
        reader, selection = self.reader(test.dataset, test.feed), self.selections[test.dataset]
        normals, abnormals = selection.test_normals, selection.test_abnormals
        return usable_rows(reader, normals), usable_rows(reader, abnormals)

    def training_hash(self) -> str:
        """Return the hash of everything that a fit reads."""
        store = self.stores[self.protocol.train]
        return stable_hash([self._fingerprint(store, rows) for rows in (self.train_rows(), self.validation_rows())])

    def test_hash(self) -> str:
        """Return the hash of everything that is scored."""
        parts: list[Any] = []
        for test in self.protocol.tests:
            normals, abnormals = self.test_rows(test)
            store = self.stores[test.dataset]
            parts.append([test.name, *(self._fingerprint(store, rows) for rows in (normals, abnormals))])
        return stable_hash(parts)

    def _fingerprint(self, store: SliceStore, rows: Int[ndarray, " N"]) -> str:
        """Hash what is read of some slices: their pixels, and how their scans' values are decoded and scaled."""
        chosen = store.slices.iloc[rows]
        names = [name for name in store.sequences if f"has_{name}" in store.scans]
        scaled = [percentile_column(self.protocol.intensity.percentile, name) for name in names]
        columns = [f"{part}_{name}" for part in ("has", "zero", "scale") for name in names] + scaled
        scans = store.scans.loc[sorted(set(chosen["scan"])), columns]
        return stable_hash(
            [
                [[int(key), str(sha)] for key, sha in zip(chosen["key"], chosen["sha"], strict=True)],
                [
                    [str(scan), *(repr(float(value)) for value in row)]
                    for scan, row in zip(scans.index, scans.to_numpy(float), strict=True)
                ],
                None if store.abnormal_regions is None else [int(region) for region in store.abnormal_regions],
            ]
        )
