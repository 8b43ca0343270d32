"""How a metric depends on the number of sequences that a method is shown, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board, Variant


@dataclass(frozen=True)
class Curve:
    """A metric by number of sequences.

    Attributes:
        values: For each number of sequences the value of every subset of that size that has one.
        means: Their mean, where every required subset of that size has a value.
    """

    values: Mapping[int, tuple[float, ...]]
    means: Mapping[int, float]


def by_count(board: Board, variant: Variant, test: str, metric: str) -> Curve:
    """Return a variant's values and means by the number of sequences shown."""
    item = board.summary(variant.key, test, metric)
    sizes: dict[int, list[float | None]] = {}
    for subset in item.subsets if item is not None else ():
        found = board.line(variant.key, test, subset)
        sizes.setdefault(len(subset.split("+")), []).append(None if found is None else found.value(metric))
    values = {size: tuple(v for v in found if v is not None) for size, found in sorted(sizes.items())}
    means = {size: sum(found) / len(found) for size, found in values.items() if found and None not in sizes[size]}
    return Curve({size: found for size, found in values.items() if found}, means)
