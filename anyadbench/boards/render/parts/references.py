"""The controls as a reference: the best of them for each number, and marks of what is not better."""

from __future__ import annotations

from collections.abc import Mapping

from anyadbench.boards.aggregate.model import Against, Board, Variant, Verdict
from anyadbench.boards.render.text import decimal, p_text, signed

MARKS: Mapping[Verdict, str] = {
    "below": "\N{WHITE DOWN-POINTING TRIANGLE}",
    "not better": "\N{WHITE CIRCLE}",
    "untested": "?",
}
"""Mark beside a number that no test shows to be better than the best control; none for ``better``."""

MARK_MEANINGS = (
    (MARKS["below"], "not above the best control"),
    (MARKS["not better"], "above it, but no test separates the two"),
    (MARKS["untested"], "above it, and not tested"),
)


def best_control(board: Board, test: str, subset: str, metric: str) -> tuple[Variant, float] | None:
    """Return the control with the highest value on a subset, and the value; ``None`` without any."""
    found = []
    for control in board.controls:
        line = board.line(control.key, test, subset)
        value = line.value(metric) if line is not None else None
        if value is not None:
            found.append((control, value))
    return max(found, key=lambda pair: (pair[1], pair[0].key), default=None)


def best_mean(board: Board, test: str, metric: str) -> tuple[Variant, float] | None:
    """Return the control with the highest mean over subsets, and the mean; ``None`` without any."""
    items = [board.summary(control.key, test, metric) for control in board.controls]
    known = [(item.variant, item.mean) for item in items if item is not None and item.mean is not None]
    best = max(known, key=lambda pair: (pair[1], pair[0]), default=None)
    return None if best is None else (board.variant(best[0]), best[1])


def mark(against: Against | None) -> str:
    """Return the mark of a comparison with the best control; empty for ``better`` or without a comparison."""
    return "" if against is None else MARKS.get(against.verdict, "")


def verdict_text(board: Board, against: Against) -> str:
    """Return a comparison as text: how far above which control, the p-value before and after correction, verdict."""
    name = board.variant(against.control).label
    found = f"{signed(against.difference)} against {name}"
    if against.p is not None:
        found += f", p {p_text(against.p)}"
        found += "" if against.p_holm is None else f" ({p_text(against.p_holm)} after correction)"
    elif against.verdict == "untested" and against.reason:
        return f"{found}: {against.verdict}. {against.reason}"
    return f"{found}: {against.verdict}"


def comparison(board: Board, against: Against | None) -> tuple[str, str, str] | None:
    """Return the difference with its mark, its interval, and the whole sentence; ``None`` without a comparison."""
    if against is None:
        return None
    ends = "" if against.low is None or against.high is None else f"[{decimal(against.low)}, {decimal(against.high)}]"
    return f"{signed(against.difference)} {mark(against)}".strip(), ends, verdict_text(board, against)
