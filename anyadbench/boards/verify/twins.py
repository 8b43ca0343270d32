"""Cells that share scores: two trainings never rank all slices nearly alike, nor give the same pixel metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.hashing import stable_hash
from anyadbench.results.cellfiles import RowKey, SliceRecord
from anyadbench.results.schema import CellResult, Row

if TYPE_CHECKING:
    from jaxtyping import Float64

LEAST_SCORES = 20
"""Different slice scores that a row needs for its order to mean anything."""

ALIKE = 0.9995
"""Rank correlation of slice scores from which two cells share them; published trainings reach at most .9953."""

SAME = 1e-6
"""Difference up to which pixel metrics are the same."""

_SLICES, _PIXELS = "slice scores", "pixel scores"
_PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1", "aupro")


@dataclass(frozen=True)
class Print:
    """What identifies the scores of one row.

    Attributes:
        of: What was scored; only prints of the same slices are compared.
        values: Ranks of the slices, centred and of length 1, so that products are rank correlations; or pixel metrics.
    """

    of: str
    values: Float64[np.ndarray, " n"]


Prints = dict[tuple[str, ...], Print]


def fingerprints(result: CellResult, slices: Mapping[RowKey, Sequence[SliceRecord]]) -> Prints:
    """Return what must differ between trainings: for each row, the ranks of its slices and its pixel metrics.

    Ranks do not change if a copied cell's scores are scaled or shifted, and hardly if a few of them are changed.
    """
    found: Prints = {}
    for row in result.rows:
        place = (row.test, row.subset)
        records = sorted(slices.get(place, []), key=lambda record: (record["scan"], record["slice"]))
        scores = np.array([record["image_score"] for record in records], dtype=np.float64)
        listed = stable_hash([[record["scan"], record["slice"]] for record in records])
        if len(np.unique(scores)) >= LEAST_SCORES:
            found[*place, _SLICES] = Print(listed, _unit_ranks(scores))
        if values := _pixel_values(row):
            found[*place, _PIXELS] = Print(listed, np.array(values))
    return found


def _unit_ranks(scores: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return ranks, the mean rank for equal scores, centred and of length 1."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / np.linalg.norm(ranks))


def _pixel_values(row: Row) -> list[float]:
    """Return the pixel metrics; none if two methods may share them: undefined, perfect, or those of equal maps."""
    values = [row.metrics.get(name) for name in _PIXEL]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) and 0 < known[1] < 1 and known[0] != 0.5 else []


def twins(cells: Sequence[tuple[str, CellResult, Prints]]) -> Iterator[str]:
    """Yield a sentence for each pair of cells that share scores without sharing the model.

    Cells may share them if both train nothing and have the same method, or if method, parameters, seed and weights are
    the same, so that one is a repetition of the other.

    Args:
        cells: Name, result and fingerprints of each.
    """
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (_, _, prints) in enumerate(cells):
        for key, print_ in prints.items():
            groups[*key, print_.of].append(number)
    named: set[tuple[int, int]] = set()
    for (test, subset, what, _), members in groups.items():
        values = np.stack([cells[number][2][test, subset, what].values for number in members])
        for second, first in np.argwhere(np.tril(_alike(values, what), -1)).tolist():
            pair = (members[first], members[second])
            one, other = (cells[number] for number in pair)
            if pair in named or _may_share(one[1], other[1]):
                continue
            named.add(pair)
            where = f"{other[0]}: its {what} of {test}, {subset} are those of {one[0]}"
            yield f"{where}, but {_difference(one[1], other[1])}."


def _alike(values: Float64[np.ndarray, "c n"], what: str) -> np.ndarray:
    """Return which pairs of cells share the values of a row."""
    if what == _SLICES:
        return np.asarray(values @ values.T >= ALIKE)
    return np.asarray((np.abs(values[:, None] - values[None]) <= SAME).all(axis=2))


def _may_share(one: CellResult, other: CellResult) -> bool:
    if one.cell_id == other.cell_id or (one.fit_id == other.fit_id and one.seed == other.seed):
        return True
    if one.kind == "external" or other.kind == "external" or one.method.name != other.method.name:
        return False
    untrained = not one.train.get("steps") and not other.train.get("steps")
    alike = one.seed == other.seed and one.method.params == other.method.params
    return untrained or (alike and one.weights.sha256 == other.weights.sha256)


def _difference(one: CellResult, other: CellResult) -> str:
    if one.method.name != other.method.name:
        return f"their methods are {one.method.name} and {other.method.name}"
    if one.seed != other.seed:
        return f"their seeds are {one.seed} and {other.seed}"
    return "they were trained differently"
