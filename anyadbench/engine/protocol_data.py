"""A protocol's slice stores, and the slices that its rules choose from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.slices.harmonise import columns_of, fit_standard
from anyadbench.data.slices.rules import HEALTHY, HISTOGRAM, LESION_FREE
from anyadbench.data.slices.selection import Selection, select_slices, split_healthy, split_store
from anyadbench.data.slices.shots import Shots
from anyadbench.data.store.store import SliceStore, open_store, overlap
from anyadbench.engine.slice_reader import SliceReader, usable_indices
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray


@dataclass(frozen=True)
class ProtocolData:
    """The slices that a protocol trains and tests on.

    Attributes:
        protocol: The protocol.
        stores: Slice store by data set.
        seed: Seed of the run, which chooses the training subjects of a protocol with few of them; nothing else here
            depends on it.
    """

    protocol: Protocol
    stores: Mapping[str, SliceStore] = field(default_factory=dict)
    seed: int | None = None

    @staticmethod
    def from_paths(protocol: Protocol, paths: Mapping[str, str], seed: int) -> ProtocolData:
        """Open the stores at ``paths`` for the run of a seed."""
        return ProtocolData(protocol, {name: open_store(Path(path)) for name, path in paths.items()}, seed)

    def for_seed(self, seed: int) -> ProtocolData:
        """Return the data of another run; the same object where the seed chooses nothing."""
        return self if self.seed == seed or not self.protocol.shots else replace(self, seed=seed)

    @cached_property
    def selections(self) -> dict[str, Selection]:
        """The chosen slices of each data set."""
        return {name: self._select(store) for name, store in self.stores.items()}

    def _select(self, store: SliceStore) -> Selection:
        split = split_store(store, self.protocol.split, self.protocol.sequences)
        healthy = split_healthy(store, self.protocol.healthy_split, self.protocol.split.salt)
        roles = [test for test in self.protocol.tests if test.dataset == store.dataset]
        if any(test.split == "all" for test in roles):
            split, healthy = dict.fromkeys(split, "test"), dict.fromkeys(healthy, "test")
        need = ["train"] * (store.dataset == self.protocol.train) + ["test"] * bool(roles)
        normals = self.protocol.normals if store.dataset == self.protocol.train else LESION_FREE
        shots = self._shots() if "train" in need else None
        return select_slices(store, self.protocol.slices, split, need, healthy, normals, shots)

    def _shots(self) -> Shots | None:
        """Return how few subjects are trained on, or ``None`` for all."""
        protocol = self.protocol
        if not protocol.shots:
            return None
        if self.seed is None:
            raise ValueError(f"{protocol.name} trains on subjects that the seed chooses; use for_seed first.")
        return Shots(protocol.shots, self.seed, protocol.split.salt, protocol.sequences)

    def reader(
        self, dataset: str, feed: Mapping[str, str] | None = None, sequences: Subset | None = None
    ) -> SliceReader:
        """Return a reader of one data set, of the protocol's sequences or of those given."""
        protocol, chosen = self.protocol, sequences or self.protocol.sequences
        rules = (protocol.intensity, dict(feed or {}), protocol.geometry, self.standard)
        return SliceReader(self.stores[dataset], chosen, *rules)

    @cached_property
    def standard(self) -> dict[str, tuple[float, ...]]:
        """The standard scale from the scans of the training normals; empty unless the protocol matches histograms."""
        if self.protocol.intensity.harmonise != HISTOGRAM:
            return {}
        normals = self.selections[self.protocol.train].train_normals
        return fit_standard(self.stores[self.protocol.train], normals, self.protocol.sequences)

    def train_indices(self, subset: Subset | None = None) -> Int[ndarray, " N"]:
        """Return the slice indices of training normals that have any of the protocol's sequences, or all of a subset.

        Raises:
            UserError: If there are none.
        """
        normals = self.selections[self.protocol.train].train_normals
        reader = self.reader(self.protocol.train, sequences=subset)
        indices = usable_indices(reader, normals)
        if subset is not None:
            indices = indices[reader.present(indices).all(1)]
            if not len(indices):
                raise UserError(
                    f"--missing retrain: no training slice of {self.protocol.name} has all of {format_subset(subset)}; "
                    "leave this subset out in a protocol of your own."
                )
        if not len(indices):
            kind = (
                "training slice of a healthy subject"
                if self.protocol.normals == HEALTHY
                else "lesion-free training slice"
            )
            raise UserError(
                f"{self.stores[self.protocol.train].path}: no {kind} is left under the slice rules of "
                f"{self.protocol.name}; add subjects, or relax its slice rules in a protocol of your own."
            )
        return indices

    def validation_indices(self) -> Int[ndarray, " N"]:
        """Return the slice indices of the validation normals."""
        indices = usable_indices(self.reader(self.protocol.train), self.selections[self.protocol.train].val_normals)
        if self.protocol.selection == "validation" and not len(indices):
            raise UserError(
                f"{self.stores[self.protocol.train].path}: no lesion-free slice is left to validate on, but "
                f'{self.protocol.name} selects on validation normals; add patients, or use selection = "last".'
            )
        return indices

    def test_indices(self, test: TestSet) -> tuple[Int[ndarray, " N"], Int[ndarray, " M"]]:
        """Return the slice indices of a test set's normal and abnormal slices."""
        reader, selection = self.reader(test.dataset, test.feed), self.selections[test.dataset]
        normals, abnormals = selection.test_normals, selection.test_abnormals
        return usable_indices(reader, normals), usable_indices(reader, abnormals)

    def check_apart(self) -> None:
        """Refuse test images that training or validation uses too, under whatever name.

        Raises:
            UserError: If a scan or a slice is on both sides.
        """
        own = self.stores[self.protocol.train]
        learnt = np.concatenate([self.train_indices(), self.validation_indices()])
        for test in self.protocol.tests:
            store = self.stores[test.dataset]
            tested = np.concatenate(self.test_indices(test))
            pairs = _same_scans(own, learnt, store, tested) if store.path != own.path else []
            pairs = pairs or _same_slices(own, learnt, store, tested)
            if pairs:
                first, second = pairs[0]
                more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
                raise UserError(
                    f"{second} of {test.dataset}, which {self.protocol.name} tests, holds the same image as {first} of "
                    f"{own.dataset}, which it trains on{more}; remove one of each pair from its folder."
                )

    def training_hash(self) -> str:
        """Return the hash of everything that a fit reads."""
        return self._training_hash

    @cached_property
    def _training_hash(self) -> str:
        store = self.stores[self.protocol.train]
        return stable_hash(
            [self._fingerprint(store, indices) for indices in (self.train_indices(), self.validation_indices())]
        )

    def test_hash(self) -> str:
        """Return the hash of everything that is scored."""
        return self._test_hash

    @cached_property
    def _test_hash(self) -> str:
        parts: list[Any] = []
        for test in self.protocol.tests:
            normals, abnormals = self.test_indices(test)
            store = self.stores[test.dataset]
            part = [test.name, *(self._fingerprint(store, indices) for indices in (normals, abnormals))]
            if self.protocol.scoring.volumes:
                part.append(self._fingerprint(store, self._brain_slices(test.dataset, "test")))
            parts.append(part)
        if self.protocol.scoring.volumes:
            parts.append(
                self._fingerprint(self.stores[self.protocol.train], self._brain_slices(self.protocol.train, "val"))
            )
        return stable_hash(parts)

    def _brain_slices(self, dataset: str, part: str) -> Int[ndarray, " N"]:
        """Return all slices of the subjects of a part, of which whole scans consist."""
        selection = self.selections[dataset]
        parts = {**selection.split, **selection.healthy_split}
        return np.flatnonzero([parts.get(str(name)) == part for name in self.stores[dataset].slices["subject"]])

    def _fingerprint(self, store: SliceStore, indices: Int[ndarray, " N"]) -> str:
        """Hash everything read from some slices: their pixels, and how their scans' values are decoded and scaled."""
        chosen = store.slices.iloc[indices]
        names = [name for name in store.sequences if f"has_{name}" in store.scans]
        scaled = [column for name in names for column in columns_of(self.protocol.intensity, name)]
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
                *([] if store.boxes is None else [_boxes_of(store.boxes, indices)]),
            ]
        )


def _boxes_of(boxes: Mapping[int, ndarray], indices: Int[ndarray, " N"]) -> list[list[list[float]]]:
    """Return the boxes of each slice as plain values."""
    return [boxes[int(index)].tolist() if int(index) in boxes else [] for index in indices]


def _same_scans(
    own: SliceStore, learnt: Int[ndarray, " N"], other: SliceStore, tested: Int[ndarray, " M"]
) -> list[tuple[str, str]]:
    left, right = (set(store.slices["scan"].to_numpy()[indices]) for store, indices in ((own, learnt), (other, tested)))
    return sorted({(a, b) for a, b, _ in overlap(own, other) if a in left and b in right})


def _same_slices(
    own: SliceStore, learnt: Int[ndarray, " N"], other: SliceStore, tested: Int[ndarray, " M"]
) -> list[tuple[str, str]]:
    """Return slices that are equal in every pixel of every sequence, for trees that already consist of slices."""
    names = [
        {sha: f"{scan} slice {number}" for sha, scan, number in zip(t["sha"], t["scan"], t["slice"], strict=True)}
        for t in (own.slices.iloc[learnt], other.slices.iloc[tested])
    ]
    return sorted((names[0][sha], names[1][sha]) for sha in names[0].keys() & names[1].keys())


def spread(indices: Int[ndarray, " N"], most: int) -> Int[ndarray, " n"]:
    """Return at most so many of the indices, evenly spread."""
    return indices[np.linspace(0, len(indices) - 1, min(len(indices), most)).round().astype(int)]
