"""MRI sequences and subsets of them.

A subset is written with short names joined by ``+`` in canonical order: ``F``, ``T1``, ``F+T1+T2``.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from anyadbench.errors import UserError

COMMON: tuple[str, ...] = ("flair", "t1", "t1ce", "t2")
"""The four sequences of BraTS: those of the phantom, of a layout that names none, and of the conformance kit."""

SEQUENCES: tuple[str, ...] = (*COMMON, "pd", "dwi", "adc")
"""Canonical names, in canonical order. A new one goes to the end: the order is part of stores and trained models."""

SHORT: dict[str, str] = {
    "flair": "F", "t1": "T1", "t1ce": "T1ce", "t2": "T2", "pd": "PD", "dwi": "DWI", "adc": "ADC",
}  # fmt: skip
"""Names in the label of a subset."""

_LONG = {short.lower(): name for name, short in SHORT.items()} | {name: name for name in SEQUENCES}

AS_AVAILABLE = "as available"
"""Name of the row in which every scan is scored with all the protocol's sequences that it has."""

Subset = tuple[str, ...]
"""Non-empty tuple of canonical sequence names in canonical order."""


def order(sequences: Iterable[str]) -> Subset:
    """Return the distinct sequences in canonical order.

    Raises:
        UserError: If a name is unknown or nothing is left.
    """
    names = set(sequences)
    unknown = sorted(names - set(SEQUENCES))
    if unknown:
        raise UserError(f"Unknown sequence {unknown[0]!r}; use one of {', '.join(SEQUENCES)}.")
    if not names:
        raise UserError("A subset of sequences is empty; name at least one of " + ", ".join(SEQUENCES) + ".")
    return tuple(name for name in SEQUENCES if name in names)


def parse_subset(text: str) -> Subset:
    """Read ``"F+T1"``, ``"flair+t1"`` or ``"FLAIR"`` (any case, any order)."""
    parts = [part.strip().lower() for part in text.split("+")]
    unknown = [part for part in parts if part not in _LONG]
    if unknown:
        raise UserError(f"{text!r} is not a subset of sequences; join {', '.join(SHORT.values())} with '+'.")
    return order(_LONG[part] for part in parts)


def format_subset(subset: Iterable[str]) -> str:
    """Write a subset with short names, e.g. ``"F+T1+T2"``."""
    return "+".join(SHORT[name] for name in order(subset))


def all_subsets(sequences: Iterable[str]) -> tuple[Subset, ...]:
    """Return every non-empty subset, by size and then in canonical order."""
    names = order(sequences)
    return tuple(subset for size in range(1, len(names) + 1) for subset in combinations(names, size))
