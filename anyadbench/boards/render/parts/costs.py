"""What a method costs: seconds of training and of scoring, memory, parameters, slices of training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anyadbench.boards.aggregate.lines import counted_results
from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render.text import decimal, named_seeds
from anyadbench.results.schema import CellResult

LABELS: Mapping[str, str] = {
    "fit_seconds": "training (s)",
    "score_per_slice_ms": "scoring a slice (ms)",
    "scan_seconds": "scoring a whole scan (s)",
    "host_mb": "memory (MB)",
    "device_mb": "GPU memory (MB)",
    "parameters": "parameters",
    "train_slices": "slices in training",
    "seen_slices": "slices seen in training",
}
"""Costs in the order of every table, with the names of their columns."""

ALWAYS = ("fit_seconds", "score_per_slice_ms", "host_mb", "device_mb")
"""Columns of every CSV file; the others occur if a result has them."""

COMPARED = ("fit_seconds", "score_per_slice_ms", "host_mb", "device_mb", "parameters")
"""Costs that quality is drawn against."""

COUNTS = ("parameters", "train_slices", "seen_slices")
"""Costs that are whole numbers."""

_FROM_TRAINING = {"parameters": "parameters", "slices": "train_slices", "seen_slices": "seen_slices"}


@dataclass(frozen=True)
class CostRow:
    """What a variant costs on one kind of device.

    Attributes:
        device: Such as ``cpu`` or ``cuda``; ``unknown`` where it is not recorded.
        place: The device and, of a variant that ran on several, the seeds that ran on this one.
        costs: Averages over its cells on the device, by name.
    """

    variant: Variant
    device: str
    place: str
    costs: Mapping[str, float]


def cost_rows(board: Board) -> list[CostRow]:
    """Return the costs of each variant that has any, a row for each kind of device that it ran on."""
    found = []
    for variant in board.variants:
        groups = _by_device(variant)
        for device, results in groups.items():
            place = f"{device}, {named_seeds(result.seed for result in results)}" if len(groups) > 1 else device
            if costs := _averages(results):
                found.append(CostRow(variant, device, place, costs))
    return found


def devices(variant: Variant) -> tuple[str, ...]:
    """Return the kinds of device that a variant ran on, in the order of its seeds; none where it is not recorded."""
    return tuple(device for device in _by_device(variant) if device != "unknown")


def variant_costs(variant: Variant) -> dict[str, float]:
    """Return the costs of a variant, averaged over its cells; empty if none is recorded.

    Of a variant that ran on several kinds of device only counts are returned: an average of seconds on a GPU and on a
    processor describes neither.
    """
    groups = _by_device(variant)
    found = _averages([result for results in groups.values() for result in results])
    return found if len(groups) < 2 else {name: value for name, value in found.items() if name in COUNTS}


def _by_device(variant: Variant) -> dict[str, list[CellResult]]:
    found: dict[str, list[CellResult]] = defaultdict(list)
    for result in counted_results(variant):
        found[result.numerics.device].append(result)
    return found


def _averages(results: Sequence[CellResult]) -> dict[str, float]:
    sums: dict[str, list[float]] = defaultdict(list)
    for result in results:
        timings, train = result.timings, result.train
        found = {**timings, **result.memory}
        slices, seconds = found.pop("scored_slices", 0.0), found.pop("score_seconds", None)
        found.pop("scored_maps", None)
        if seconds is not None and slices > 0:
            found["score_per_slice_ms"] = 1000 * seconds / slices
        for name, column in _FROM_TRAINING.items():
            number = train.get(name)
            if isinstance(number, int):
                found[column] = float(number)
        for name, value in found.items():
            sums[name].append(value)
    return {name: sum(values) / len(values) for name, values in sums.items()}


def ordered(names: Iterable[str]) -> list[str]:
    """Return names of costs in the order of every table, without repetition; unknown ones last."""
    distinct = dict.fromkeys(names)
    return [*(name for name in LABELS if name in distinct), *(name for name in distinct if name not in LABELS)]


def columns(board: Board) -> list[str]:
    """Return the columns of a CSV file: the usual ones, and others that a result of this board has."""
    found = {name for row in cost_rows(board) for name in row.costs}
    return [name for name in LABELS if name in ALWAYS or name in found]


def cost_label(name: str) -> str:
    """Return the name of a cost with its unit in brackets."""
    if name in LABELS:
        return LABELS[name]
    stem, _, unit = name.rpartition("_")
    units = {"seconds": "s", "s": "s", "ms": "ms", "mb": "MB", "gb": "GB"}
    return f"{stem.replace('_', ' ')} ({units[unit]})" if stem and unit in units else name.replace("_", " ")


def cost_text(value: float | None) -> str:
    """Return three significant digits, without an exponent."""
    if value is None:
        return decimal(None)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
