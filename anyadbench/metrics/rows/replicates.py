"""Values of a row without each of its subjects: what a cell stores for intervals and tests, and their file's arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.intervals.jackknife import JACKKNIFED, Replicates, over_seeds
from anyadbench.results.arrays import parsed

if TYPE_CHECKING:
    from jaxtyping import Float64

FORMAT = 1

_SAME = 1e-9
"""How far a value may be from the result's: the last bits of a sum differ between processors."""

Place = tuple[str, str]


@dataclass(frozen=True)
class RowReplicates:
    """The values of one row, and of the same row on fewer subjects.

    Attributes:
        own: On all subjects of the row.
        common: On the subjects that have every sequence of the protocol too, so that the drop from all sequences to
            this subset compares the same people; without subjects if there are none.
    """

    own: Replicates
    common: Replicates

    @staticmethod
    def over_seeds(rows: Sequence[RowReplicates]) -> RowReplicates:
        """Put the seeds of one method on one subset together.

        Raises:
            UserError: If the seeds were scored on different subjects.
        """
        return RowReplicates(over_seeds([row.own for row in rows]), over_seeds([row.common for row in rows]))


def to_arrays(rows: Mapping[Place, RowReplicates]) -> dict[str, np.ndarray]:
    """Return the arrays in which the rows of a cell, each of one seed, are stored."""
    index = [
        {"test": test, "subset": subset, "subjects": list(row.own.subjects), "common": list(row.common.subjects)}
        for (test, subset), row in rows.items()
    ]
    head = {"format": FORMAT, "metrics": list(JACKKNIFED), "rows": index}
    parts = {"own": [row.own for row in rows.values()], "common": [row.common for row in rows.values()]}
    arrays = {"index": np.array(json.dumps(head, sort_keys=True))}
    empty = np.empty((0, len(JACKKNIFED)))
    for name, lines in parts.items():
        arrays[f"{name}_point"] = np.concatenate([empty, *(line.point for line in lines)])
        arrays[f"{name}_jack"] = np.concatenate([empty, *(line.jack[0] for line in lines)])
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[Place, RowReplicates]:
    """Return the rows from the arrays of `to_arrays`.

    Raises:
        UserError: If an array is missing or impossible.
    """
    return parsed(arrays, _rows, "Values without a subject are damaged or incomplete; run the cell again.")


def _rows(arrays: Mapping[str, np.ndarray]) -> dict[Place, RowReplicates]:
    head = json.loads(str(arrays["index"].item()))
    if head["format"] != FORMAT:
        raise UserError("Values without a subject come from another version; run the cell again.")
    metrics = tuple(str(name) for name in head["metrics"])
    names = [f"{part}_{kind}" for part in ("own", "common") for kind in ("point", "jack")]
    numbers = {name: _numbers(arrays[name]) for name in names}
    rows, starts = {}, {"own": 0, "common": 0}
    for number, row in enumerate(head["rows"]):
        lines = {}
        for part, listed in (("own", row["subjects"]), ("common", row["common"])):
            start = starts[part]
            starts[part] = start + len(listed)
            point, jack = numbers[f"{part}_point"][[number]], numbers[f"{part}_jack"]
            subjects = tuple(str(name) for name in listed)
            lines[part] = _padded(Replicates(subjects, metrics, point, jack[None, start : starts[part]]))
        rows[str(row["test"]), str(row["subset"])] = RowReplicates(lines["own"], lines["common"])
    return rows


def require_points(rows: Mapping[Place, RowReplicates], found: Mapping[Place, Mapping[str, float | None]]) -> None:
    """Check that the value of every row is the one that its result states, since intervals and tests start from it.

    Args:
        rows: Values without a subject by test set and subset.
        found: The metrics of the result's rows; only those that both have are compared. Metrics that an earlier version
            did not store are NaN in ``rows``.

    Raises:
        UserError: If a value differs.
    """
    for place, row in rows.items():
        stated = found.get(place, {})
        for name, value in zip(row.own.metrics, row.own.point[0].tolist(), strict=True):
            if math.isnan(value) or name not in stated:
                continue
            other = stated[name]
            if other is None or abs(value - other) > _SAME:
                text = "nothing" if other is None else f"{other:.6f}"
                raise UserError(
                    f"{', '.join(place)}: {name} is {value:.6f} here, but result.json gives {text}; run the cell again."
                )


def _padded(line: Replicates) -> Replicates:
    """Return a line of an earlier version with the metrics that it lacks, as NaN."""
    lacking = tuple(name for name in JACKKNIFED if name not in line.metrics)
    if not lacking:
        return line
    point = np.pad(line.point, ((0, 0), (0, len(lacking))), constant_values=np.nan)
    jack = np.pad(line.jack, ((0, 0), (0, 0), (0, len(lacking))), constant_values=np.nan)
    return Replicates(line.subjects, (*line.metrics, *lacking), point, jack)


def _numbers(array: np.ndarray) -> Float64[np.ndarray, "k m"]:
    values = np.asarray(array)
    if values.ndim != 2 or values.dtype != np.float64 or ((values < 0) | (values > 1)).any():
        raise ValueError
    return values
