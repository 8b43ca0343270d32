"""Cells that share scores: two trainings never rank all slices alike, nor give the same pixel metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from anyadbench.hashing import stable_hash
from anyadbench.results.cellfiles import RowKey, SliceRecord
from anyadbench.results.schema import CellResult, Row

LEAST_SCORES = 20
"""Different slice scores that a row needs for its order to mean anything."""

_PIXEL = ("pixel_auroc", "pixel_ap", "pixel_f1", "aupro")

Prints = dict[tuple[str, ...], str]


def fingerprints(result: CellResult, slices: Mapping[RowKey, Sequence[SliceRecord]]) -> Prints:
    """Return what must differ between trainings: for each row, the order of its slices and its pixel metrics.

    The order does not change if a copied cell's scores are scaled or shifted.
    """
    found: Prints = {}
    for row in result.rows:
        place = (row.test, row.subset)
        records = slices.get(place, [])
        if len({record["image_score"] for record in records}) >= LEAST_SCORES:
            ordered = sorted(records, key=lambda record: (record["image_score"], record["scan"], record["slice"]))
            found[*place, "slice scores"] = stable_hash([[record["scan"], record["slice"]] for record in ordered])
        if values := _pixel_values(row):
            found[*place, "pixel scores"] = stable_hash(values)
    return found


def _pixel_values(row: Row) -> list[float]:
    """Return the pixel metrics; none where they are undefined or perfect, which two methods may share."""
    values = [row.metrics.get(name) for name in _PIXEL]
    known = [value for value in values if value is not None]
    return [round(value, 12) for value in known] if len(known) == len(values) and 0 < known[1] < 1 else []


def twins(cells: Sequence[tuple[str, CellResult, Prints]]) -> Iterator[str]:
    """Yield a sentence for each pair of cells that share scores without sharing the model.

    Cells may share them if both train nothing and have the same method, or if method, parameters, seed and weights are
    the same, so that one is a repetition of the other.

    Args:
        cells: Name, result and fingerprints of each.
    """
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (_, _, prints) in enumerate(cells):
        for key, print_ in prints.items():
            holders[*key, print_].append(number)
    named: set[tuple[int, int]] = set()
    for (test, subset, what, _), members in sorted(holders.items(), key=lambda item: item[1]):
        for place, second in enumerate(members):
            for first in members[:place]:
                if (first, second) in named or _may_share(cells[first][1], cells[second][1]):
                    continue
                named.add((first, second))
                one, other = cells[first], cells[second]
                where = f"{other[0]}: its {what} of {test}, {subset} are those of {one[0]}"
                yield f"{where}, but {_difference(one[1], other[1])}."


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
