"""Grouping cells into method variants, and labelling these so that no two on a board share a name."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain

from anyadbench.boards.aggregate.flags import variant_flags
from anyadbench.boards.aggregate.model import Variant
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import CellResult, Numerics


def kind_of(result: CellResult) -> str:
    """Return the kind of a result's rows; a protocol that selects on test data makes every cell an oracle."""
    return "oracle" if result.protocol.oracle and result.kind == "measured" else result.kind


def precision(numerics: Numerics) -> str:
    """Return the precision by its name in ``--precision``."""
    return "tf32" if numerics.tf32 else numerics.dtype


def variant_key(result: CellResult) -> str:
    """Hash everything but the seed that may change a cell's numbers: runs that differ here are not averaged."""
    method, weights = result.method, result.weights
    parts = [
        kind_of(result), method.name, method.distribution, method.version, method.code_hash, method.budget,
        method.training_mask, method.missing, method.params, weights.name, weights.kind, weights.sha256,
        precision(result.numerics),
    ]  # fmt: skip
    return _short_hash(parts)


def group_variants(cells: Iterable[CellRecord]) -> tuple[Variant, ...]:
    """Group the finished cells of one protocol, and label the groups.

    Returns:
        Variants in order of kind, title and key, each with its cells by seed, newest first within a seed.
    """
    alike: dict[str, list[CellRecord]] = defaultdict(list)
    for cell in cells:
        if cell.result is not None:
            alike[variant_key(cell.result)].append(cell)
    variants = []
    for key, members in chain.from_iterable(_by_data(key, found) for key, found in alike.items()):
        # Two stable sorts: newest first, then by seed.
        members.sort(key=lambda cell: (cell.finished, cell.folder.name), reverse=True)
        members.sort(key=lambda cell: cell.result.seed if cell.result else 0)
        first = members[0].result
        assert first is not None
        variants.append(
            Variant(
                key=key,
                label=first.method.title or first.method.name,
                kind=kind_of(first),
                method=first.method,
                weights=first.weights,
                dtype=precision(first.numerics),
                cells=tuple(members),
                flags=variant_flags(first, [cell.result for cell in members if cell.result is not None]),
            )
        )
    variants.sort(key=lambda item: (item.kind, item.label.casefold(), item.method.name, item.key))
    return _labelled(variants)


Counts = dict[tuple[str, str], tuple[int, int, int]]


def _by_data(key: str, cells: list[CellRecord]) -> list[tuple[str, list[CellRecord]]]:
    """Separate cells that were scored on different data: they are not seeds of one experiment.

    Different data show in the scans and slices of a row; cells of ``retrain`` have a row each.
    """
    parts: list[tuple[Counts, list[CellRecord]]] = []
    for cell in sorted(cells, key=lambda cell: cell.folder.name):
        counts = _counts(cell.result)
        for known, members in parts:
            if all(known.get(place, found) == found for place, found in counts.items()):
                known |= counts
                members.append(cell)
                break
        else:
            parts.append((counts, [cell]))
    if len(parts) == 1:
        return [(key, parts[0][1])]
    return [(_short_hash([key, sorted(known.items())]), members) for known, members in parts]


def _counts(result: CellResult | None) -> Counts:
    rows = result.rows if result else []
    return {(row.test, row.subset): (row.n_scans, row.n_normal, row.n_abnormal) for row in rows}


def _slices(variant: Variant) -> str:
    found: Counts = {}
    for cell in variant.cells:
        found |= _counts(cell.result)
    return f"{sum(normal + abnormal for _, normal, abnormal in found.values())} scored slices"


def _short_hash(parts: Sequence[object]) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _weights(variant: Variant) -> str:
    return f"weights {variant.weights.name}"


_DISTINCTIONS: tuple[Callable[[Variant], str], ...] = (
    lambda v: v.method.name,
    lambda v: f"{v.method.budget} budget",
    _weights,
    lambda v: f"missing: {v.method.missing}",
    lambda v: f"mask {v.method.training_mask}",
    lambda v: f"{v.method.distribution} {v.method.version}",
    lambda v: f"code {v.method.code_hash[:8]}",
    lambda v: v.dtype,
    _slices,
)


def _labelled(variants: list[Variant]) -> tuple[Variant, ...]:
    """Add to titles that repeat within a kind the properties in which the variants differ."""
    titles: dict[tuple[str, str], list[Variant]] = defaultdict(list)
    for variant in variants:
        titles[variant.kind, variant.label].append(variant)
    return tuple(
        replace(variant, label=_distinct(variant, titles[variant.kind, variant.label])) for variant in variants
    )


def _distinct(variant: Variant, twins: list[Variant]) -> str:
    if len(twins) == 1:
        return variant.label
    parts = [tell(variant) for tell in _DISTINCTIONS if len({tell(twin) for twin in twins}) > 1]
    for name in sorted({name for twin in twins for name in twin.method.params}):
        if len({json.dumps(twin.method.params.get(name)) for twin in twins}) > 1:
            parts.append(f"{name}={variant.method.params.get(name, 'unset')}")
    encoders = [twin.method.params.get("encoder") for twin in twins]
    pairs = set(zip(encoders, map(_weights, twins), strict=True))
    if _weights(variant) in parts and len(pairs) == len(set(encoders)):
        parts.remove(_weights(variant))  # the name of an encoder says which weights it has
    same = [twin for twin in twins if all(tell(twin) == tell(variant) for tell in _DISTINCTIONS)]
    if not parts or len({json.dumps(twin.method.params, sort_keys=True) for twin in same}) < len(same):
        parts.append(variant.key[:6])
    shown = parts if len(parts) <= 3 else [*parts[:3], variant.key[:6]]
    return f"{variant.label} ({', '.join(shown)})"
