"""Numbers, resamples and curves of a cell, recomputed from its slice table and pixel statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.results.cellfiles import RowKey, SliceRecord, read_slice_table
from anyadbench.results.read import inside
from anyadbench.results.schema import CellResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Float32

    from anyadbench.metrics.rows.row_pixels import RowPixels


@dataclass(frozen=True)
class Statistics:
    """The statistics that a cell stores of its scores.

    Attributes:
        slices: The slice table by test set and subset.
        pixels: Pixel statistics by test set and subset.
        subjects: All subjects of each test set.
    """

    slices: Mapping[RowKey, list[SliceRecord]]
    pixels: Mapping[RowKey, RowPixels]
    subjects: Mapping[str, tuple[str, ...]]

    def row(self, place: RowKey) -> tuple[dict[str, Any], Float32[np.ndarray, "m r"]]:
        """Return the numbers and the resamples of one row."""
        from anyadbench.metrics.rows.row_numbers import row_numbers

        return row_numbers(self.pixels.get(place), self.slices.get(place, []), self.subjects.get(place[0], ()))


def read_statistics(folder: Path) -> Statistics:
    """Read and check the statistics of a cell.

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
    return Statistics(slices, pixels, subjects)


def read_replicates(folder: Path, result: CellResult) -> Float32[np.ndarray, "rows m r"]:
    """Return the resamples of every row, from the cell's file if it exists, else from its statistics.

    Raises:
        UserError: If neither can be read.
    """
    import numpy as np

    from anyadbench.metrics.intervals.bootstrap import RESAMPLES
    from anyadbench.metrics.rows.row_numbers import REPLICATED
    from anyadbench.results.arrays import load_arrays

    name = "scores/bootstrap.npz"
    path = inside(folder, name)
    shape = (len(result.rows), len(REPLICATED), RESAMPLES)
    if path is None:
        statistics = read_statistics(folder)
        return np.stack([statistics.row((row.test, row.subset))[1] for row in result.rows])
    values = load_arrays(path, f"{folder.name}/{name}").get("values")
    if values is None or values.shape != shape or values.dtype != np.float32:
        raise UserError(f"{folder.name}/{name} is damaged; run the cell again.")
    return values
