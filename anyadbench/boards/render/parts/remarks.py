"""What intervals leave out: once for a row where it holds for all of its numbers, and beside a number otherwise."""

from __future__ import annotations

from anyadbench.boards.aggregate.model import Estimate, Line


def shared_remark(line: Line) -> str:
    """Return what every interval of a line leaves out; empty without intervals, or if there is nothing."""
    parts = [_parts(estimate) for estimate in line.metrics.values() if estimate.low is not None]
    return "; ".join(text for text in (parts[0] if parts else []) if all(text in other for other in parts))


def own_remark(estimate: Estimate, shared: str) -> str:
    """Return what is remarkable about the interval of one number besides what its line shares."""
    return "; ".join(text for text in _parts(estimate) if text not in shared.split("; "))


def _parts(estimate: Estimate) -> list[str]:
    return estimate.remark.split("; ") if estimate.remark else []
