"""One scan as a volume on the scoring grid: its slices, its voxels' edges, its brain and its lesions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.slices.geometry import grid_after
from anyadbench.engine.scans.healthy import test_subjects
from anyadbench.errors import UserError
from anyadbench.metrics.lesions.scan import MOST_OUTSIDE, SPACING_LIMITS

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from anyadbench.data.store.store import SliceStore
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.engine.slice_reader import SliceReader
    from anyadbench.protocols.model import Protocol

Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class WholeScan:
    """The brain slices of one scan.

    Attributes:
        subject: Name of the subject.
        scan: Name of the scan.
        rows: Its slices in the store, in the order of their numbers: all with some brain.
        places: Where each of them lies in the volume, from 0; numbers that the store leaves out are gaps.
        spacing: Edges in mm of a voxel of the scoring grid: between slices, along the height, along the width.
    """

    subject: str
    scan: str
    rows: Int[np.ndarray, " n"]
    places: Int[np.ndarray, " n"]
    spacing: Spacing

    @property
    def depth(self) -> int:
        """Number of slices of the volume."""
        return int(self.places[-1]) + 1

    def volume(self, slices: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, "d h w"]:
        """Return slices as a volume, zero in gaps."""
        whole = np.zeros((self.depth, *slices.shape[1:]), slices.dtype)
        whole[self.places] = slices
        return whole


def whole_scans(
    store: SliceStore, reader: SliceReader, protocol: Protocol, subjects: Collection[str]
) -> list[WholeScan]:
    """Return the scans of some subjects that have any of the protocol's sequences, in the order of the store.

    Raises:
        UserError: If the store holds slices without a scan, or a scan's spacing is missing or absurd.
    """
    if store.own_parts:
        raise UserError(
            f"{store.path} was made from pictures of slices, but {protocol.name} scores whole scans "
            "(scoring.volumes); give a tree of scans, or remove that key in a protocol of your own."
        )
    usable = reader.present(np.arange(len(store))).any(axis=1) & (store.slices["brain"].to_numpy() > 0)
    table = store.slices
    found = []
    for scan, entry in store.scans.iterrows():
        if str(entry["subject"]) not in subjects:
            continue
        rows = np.flatnonzero((table["scan"] == scan).to_numpy() & usable)
        if not len(rows):
            continue
        numbers = table["slice"].to_numpy()[rows]
        order = np.argsort(numbers)
        spacing = scan_spacing(
            {str(name): value for name, value in entry.items()}, store.shape, protocol, f"{scan} of {store.dataset}"
        )
        found.append(WholeScan(str(entry["subject"]), str(scan), rows[order], numbers[order] - numbers.min(), spacing))
    return found


def scan_spacing(scan: Mapping[str, Any], shape: tuple[int, int], protocol: Protocol, name: str) -> Spacing:
    """Return the edges in mm of a voxel on the scoring grid, from a scan's own and the protocol's resampling.

    Resizing to h pixels makes pixels larger by H / h; a crop leaves them as they are; resampling to the scoring grid
    changes them by the ratio of the sizes.

    Raises:
        UserError: If the scan's spacing is missing, or an edge is not from .05 to 20 mm.
    """
    own = [float(scan.get(f"spacing_{axis}", np.nan)) for axis in ("z", "y", "x")]
    low, high = SPACING_LIMITS
    if not all(low <= edge <= high for edge in own):
        shown = "missing" if all(np.isnan(own)) else f"({', '.join(f'{edge:g}' for edge in own)}) mm"
        raise UserError(
            f"The voxel spacing of {name} is {shown}, but lesions need three edges from {low:g} to {high:g} mm; "
            "correct the header of its images and prepare the store again."
        )
    resized = protocol.geometry.resize if any(protocol.geometry.resize) else shape
    seen = grid_after(shape, protocol.geometry)
    grid = tuple(want or have for want, have in zip(protocol.scoring_grid, seen, strict=True))
    edges = [
        edge * full / after * have / want
        for edge, full, after, have, want in zip(own[1:], shape, resized, seen, grid, strict=True)
    ]
    return own[0], edges[0], edges[1]


def check_scans(data: ProtocolData) -> None:
    """Check everything about the scans of the test sets that would stop their scoring, before any training.

    Raises:
        UserError: If a scan's spacing is missing or absurd, or more than 10 % of its lesion lies outside its brain.
    """
    for test in data.protocol.tests:
        store, reader = data.stores[test.dataset], data.reader(test.dataset, test.feed)
        for whole in whole_scans(store, reader, data.protocol, test_subjects(data.selections[test.dataset])):
            _check_lesions(store, reader, whole, data.protocol.slices.cavity)


def _check_lesions(store: SliceStore, reader: SliceReader, whole: WholeScan, cavity: bool) -> None:
    """Compare lesion and brain on the store's own grid, where nothing is cropped."""
    lesions = store.slices["lesion_px"].to_numpy()[whole.rows]
    stored = int(store.slices["lesion_px"].to_numpy()[(store.slices["scan"] == whole.scan).to_numpy()].sum())
    # The store leaves slices without brain out; a lesion in one of them is outside the brain too.
    outside = int(store.scans["lesion_voxels"][whole.scan]) - stored
    total = outside
    for row in whole.rows[lesions > 0]:
        mask = store.abnormal(np.array([row]), cavity)[0]
        shown, present = store.read(np.array([row]), [reader.feed.get(name, name) for name in reader.sequences])
        brain = (shown[0][present[0]] > 0).any(axis=0)
        total += int(mask.sum())
        outside += int((mask & ~brain).sum())
    if outside > MOST_OUTSIDE * total:
        raise UserError(
            f"{outside} of {total} lesion voxels of {whole.scan} of {store.dataset} lie outside its brain; correct its "
            "mask, or its brain extraction, and prepare the store again."
        )
