"""Slice scores normalised by height, computed again from the data, the slice scores and the fits that a cell lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.boards.verify.findings import CellReport
from anyadbench.boards.verify.heights import CLOSE, fits_of
from anyadbench.engine.protocol_data import ProtocolData, spread
from anyadbench.errors import UserError
from anyadbench.metrics.rows import height
from anyadbench.metrics.rows.height import HeightFit
from anyadbench.metrics.rows.row_numbers import HEIGHT_SCORE
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.results.arrays import ODD
from anyadbench.results.cellfiles import RowKey, SliceRecord, read_slice_table
from anyadbench.sequences import AS_AVAILABLE, Subset, format_subset, order, parse_subset

if TYPE_CHECKING:
    from anyadbench.engine.heights.normaliser import HeightNormaliser
    from anyadbench.engine.slice_reader import SliceReader

_BATCH = 32


def check_heights(report: CellReport, protocol: Protocol, manifest: Mapping[str, Any], data: ProtocolData) -> None:
    """Compute every normalised score again, and check which training normals the fits are of.

    The coefficients come from the method's scores of training normals, which no cell stores: only another run shows
    whether they are right.
    """
    from anyadbench.engine.heights.normaliser import HeightNormaliser

    if not protocol.scoring.normalise_height:
        return
    try:
        fits = {parse_subset(label): fit for label, fit in fits_of(manifest).items()}
    except (UserError, *ODD):
        report.note("manifest.json", "heights does not have the form that a run gives it; run the cell again.")
        return
    known = {subset: fit for subset, fit in fits.items() if set(subset) <= set(protocol.sequences)}
    normaliser = HeightNormaliser(protocol.sequences, known)
    _check_fits(report, protocol, data, normaliser)
    table = read_slice_table(report.folder)
    for test in protocol.tests:
        text = next(_differences(table, protocol, data, test, normaliser), "")
        if text:
            report.note("scores/slices.csv", text)


def _check_fits(report: CellReport, protocol: Protocol, data: ProtocolData, normaliser: HeightNormaliser) -> None:
    """Check of each fit how many training normals it is of, and their range of heights."""
    from anyadbench.engine.heights.normaliser import TRAINING_SLICES

    reader = data.reader(protocol.train)
    heights: dict[Subset, list[np.ndarray]] = {}
    for indices, values, present in _batches(reader, spread(data.train_indices(), TRAINING_SLICES)):
        for subset in {*protocol.subsets, *normaliser.fits}:
            members = _members(protocol, present, subset)
            if len(members):
                found, _ = normaliser.places(reader, indices[members], values[members], subset)
                heights.setdefault(subset, []).append(found)
    for subset in (*normaliser.fits, *(one for one in protocol.subsets if one not in normaliser.fits)):
        report.numbers += 1
        known = np.concatenate(heights.get(subset, [np.empty(0)]))
        wanted = (len(known), float(known.min()), float(known.max())) if len(known) >= height.LEAST_SLICES else None
        fit = normaliser.fits.get(subset)
        if subset in protocol.subsets and (None if fit is None else (fit.slices, fit.low, fit.high)) != wanted:
            text = f"heights.{format_subset(subset)} is not a fit of the {len(known)} training normals of the data"
            report.note("manifest.json", f"{text} that can serve it." if fit else f"{text}: it is missing.")


def _differences(
    table: Mapping[RowKey, list[SliceRecord]],
    protocol: Protocol,
    data: ProtocolData,
    test: TestSet,
    normaliser: HeightNormaliser,
) -> Iterator[str]:
    """Yield a sentence for each slice whose normalised score is not that of its score."""
    reader = data.reader(test.dataset, test.feed)
    rows = {
        label: {(one["scan"], one["slice"]): one for one in table.get((test.name, label), [])}
        for label in protocol.rows(test)
    }
    for indices, values, present in _batches(reader, np.sort(np.concatenate(data.test_indices(test)))):
        chosen = reader.store.slices.iloc[indices]
        keys = list(zip(chosen["scan"].astype(str), chosen["slice"].astype(int), strict=True))
        for label, records in rows.items():
            for subset, members in _shown(protocol, present, label):
                members = np.array([i for i in members if keys[i] in records], dtype=int)  # others are named before
                if not len(members):
                    continue
                mine = [records[keys[i]] for i in members]
                scores = np.array([one["image_score"] for one in mine])
                again = normaliser.normalised(reader, indices[members], values[members], subset, scores)
                for record, wanted in zip(mine, again, strict=True):
                    given = record.get(HEIGHT_SCORE)
                    if not _same(given, wanted, record["image_score"], normaliser.fits.get(subset)):
                        name = f"{HEIGHT_SCORE} of slice {record['slice']} of {record['scan']}"
                        yield f"{test.name}, {label}: {name} is {given!r}, and the data give {wanted!r}."


def _same(given: float | None, wanted: float | None, score: float, fit: HeightFit | None) -> bool:
    if given is None or wanted is None or fit is None:
        return given == wanted
    # The expected score is subtracted from the score, so the error is relative to both.
    return abs(given - wanted) <= CLOSE * max(1.0, abs(wanted), abs(score) / fit.spread)


def _batches(reader: SliceReader, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield indices, values N x S x H x W and present sequences N x S of slices."""
    for start in range(0, len(indices), _BATCH):
        part = indices[start : start + _BATCH]
        yield (part, *reader.read(part))


def _shown(protocol: Protocol, present: np.ndarray, label: str) -> Iterator[tuple[Subset, np.ndarray]]:
    """Yield each subset that the slices of a row are shown, and which of them."""
    if label != AS_AVAILABLE:
        subset = parse_subset(label)
        yield subset, _members(protocol, present, subset)
        return
    for has in sorted({tuple(row) for row in present.tolist()}):
        names = [name for name, one in zip(protocol.sequences, has, strict=True) if one]
        if names:
            yield order(names), np.flatnonzero((present == np.array(has)).all(axis=1))


def _members(protocol: Protocol, present: np.ndarray, subset: Subset) -> np.ndarray:
    """Return the slices that have all sequences of a subset."""
    return np.flatnonzero(present[:, [protocol.sequences.index(name) for name in subset]].all(axis=1))
