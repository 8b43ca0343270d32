"""Numbers, values without a subject, and curves of a cell, recomputed from its slice table and pixel statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.results.cellfiles import RowKey, SliceRecord, read_slice_table
from anyadbench.results.read import inside
from anyadbench.results.schema import CellResult
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyadbench.metrics.rows.replicates import RowReplicates
    from anyadbench.metrics.rows.row_pixels import RowPixels
    from anyadbench.metrics.scans.whole_scans import WholeScans


@dataclass(frozen=True)
class Statistics:
    """The statistics that a cell stores of its scores.

    Attributes:
        slices: The slice table by test set and subset.
        pixels: Pixel statistics by test set and subset.
        subjects: All subjects of each test set.
        full: Label of the subset with all sequences of the protocol.
        whole: Whole scans, scores of subjects, and sites.
    """

    slices: Mapping[RowKey, list[SliceRecord]]
    pixels: Mapping[RowKey, RowPixels]
    subjects: Mapping[str, tuple[str, ...]]
    full: str
    whole: WholeScans

    def row(self, place: RowKey) -> tuple[dict[str, Any], RowReplicates | None]:
        """Return the numbers of one row, and its metrics without each subject."""
        from anyadbench.metrics.rows.row_numbers import row_numbers
        from anyadbench.metrics.scans.added_numbers import added_numbers

        complete = {record["subject"] for record in self.slices.get((place[0], self.full), [])}
        pixels, records = self.pixels.get(place), self.slices.get(place, [])
        numbers, replicates = row_numbers(pixels, records, sorted(complete))
        return numbers | added_numbers(place, self.whole, pixels, records, numbers["metrics"]), replicates


def read_statistics(folder: Path, full: str = "") -> Statistics:
    """Read and check the statistics of a cell.

    Args:
        folder: The cell.
        full: Label of the subset with all sequences of its protocol; drops need it.

    Raises:
        UserError: If a file is missing or damaged, or the files contradict each other or themselves.
    """
    from anyadbench.metrics.rows.row_pixels import from_arrays
    from anyadbench.results.arrays import load_arrays

    slices = read_slice_table(folder)
    name = f"{folder.name}/scores/pixels.npz"
    path = inside(folder, "scores/pixels.npz")
    if path is None:
        raise UserError(f"{name} is missing or a link; run the cell again.")
    try:
        rows, subjects = from_arrays(load_arrays(path, name))
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(name) else f"{name}: {text}") from None
    pixels = {(row.test, row.subset): row for row in rows}
    for place, records in slices.items():
        if place not in pixels:
            raise UserError(f"{name}: no statistics of {', '.join(place)}; run the cell again.")
        if {record["subject"] for record in records} != set(pixels[place].subjects):
            raise UserError(f"{name}: {', '.join(place)} has other subjects than slices.csv; run the cell again.")
    return Statistics(slices, pixels, subjects, full, read_whole_scans(folder))


def read_whole_scans(folder: Path) -> WholeScans:
    """Read what a cell stores of its whole scans, subjects and sites; nothing where there are no such files.

    Raises:
        UserError: If a file is damaged.
    """
    from anyadbench.metrics.scans.scan_storage import from_arrays
    from anyadbench.metrics.scans.whole_scans import WholeScans
    from anyadbench.results.arrays import load_arrays
    from anyadbench.results.box_file import read_boxes_of
    from anyadbench.results.subject_tables import read_scores, read_sites

    name = "scores/scans.npz"
    path, rows = inside(folder, name), {}
    if path is not None:
        try:
            rows = from_arrays(load_arrays(path, f"{folder.name}/{name}"))
        except UserError as error:
            text = str(error)
            raise UserError(text if text.startswith(folder.name) else f"{folder.name}/{name}: {text}") from None
    return WholeScans(rows, read_scores(folder), read_sites(folder), read_boxes_of(folder))


def read_replicates(folder: Path, result: CellResult) -> dict[RowKey, RowReplicates]:
    """Return the values without a subject of every row with slices, from their file or else from the statistics.

    Raises:
        UserError: If neither can be read, or the values of the rows are not those of the result.
    """
    from anyadbench.metrics.rows.replicates import from_arrays, require_points
    from anyadbench.results.arrays import load_arrays

    name = "scores/jackknife.npz"
    path = inside(folder, name)
    if path is None:
        statistics = read_statistics(folder, format_subset(result.protocol.sequences))
        found = {(row.test, row.subset): statistics.row((row.test, row.subset))[1] for row in result.rows}
        return {place: row for place, row in found.items() if row is not None}
    try:
        rows = from_arrays(load_arrays(path, f"{folder.name}/{name}"))
        require_points(rows, {(row.test, row.subset): row.metrics for row in result.rows})
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(folder.name) else f"{folder.name}/{name}: {text}") from None
    return rows
