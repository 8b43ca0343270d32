"""What a reader must know first, one line per kind with a count, and the places where it applies as a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anyadbench.boards.aggregate.flags import EXPLANATIONS
from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.render.text import metric_label, plural

_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Notice:
    """One kind of flag or notice: its flag if it has one, a sentence, how often it applies, and where."""

    flag: str
    sentence: str
    count: str
    places: tuple[str, ...]


def grouped_notices(board: Board) -> list[Notice]:
    """Return one notice per flag, then one per kind of sentence on what was left out."""
    return [*_flags(board), *_sentences(board)]


def _flags(board: Board) -> list[Notice]:
    labels = {variant.key: variant.label for variant in board.variants}
    found: dict[str, dict[str, list[str]]] = {}
    for variant in board.variants:
        for flag in variant.flags:
            found.setdefault(flag, {}).setdefault(variant.label, [])
    for line in board.lines:
        for flag in line.flags:
            found.setdefault(flag, {}).setdefault(labels[line.variant], []).append(line.subset)
    notices = []
    for flag, places in found.items():
        rows = sum(map(len, places.values()))
        count = plural(len(places), "method") + (f", {plural(rows, 'row')}" if rows else "")
        listed = tuple(_where(board, label, subsets) for label, subsets in places.items())
        notices.append(Notice(flag, EXPLANATIONS.get(flag, ""), count, listed))
    return notices


def _where(board: Board, label: str, subsets: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(subsets))
    if not distinct or len(distinct) == len(board.subsets):
        return label
    return f"{label} ({', '.join(distinct)})"


def _sentences(board: Board) -> list[Notice]:
    """Group sentences that differ only in a method's name in front, and in numbers."""
    labels = sorted((variant.label for variant in board.variants), key=len, reverse=True)
    groups: dict[str, list[str]] = {}
    for text in board.notices:
        label = next((label for label in labels if text.startswith(f"{label}: ")), None)
        rest = text if label is None else text[len(label) + 2 :]
        groups.setdefault(_NUMBERS.sub("#", rest), []).append(text)
    notices = []
    for texts in groups.values():
        if len(texts) == 1:
            notices.append(Notice("", texts[0], "", ()))
        else:
            notices.append(Notice("", texts[0], f"{len(texts)} such notices", tuple(texts)))
    return notices


def missing(board: Board) -> list[str]:
    """Return a sentence for each missing number, or one for a line whose numbers share a reason."""
    labels = {variant.key: variant.label for variant in board.variants}
    found: dict[str, None] = {}
    for line in board.lines:
        where = f"{labels[line.variant]}, {line.test}, {line.subset}"
        if not line.covered and line.reason:
            found[f"{where}: {line.reason}"] = None
            continue
        by_reason: dict[str, list[str]] = {}
        for metric in board.metrics:
            estimate = line.metrics.get(metric)
            if estimate is not None and estimate.reason:
                by_reason.setdefault(estimate.reason, []).append(metric_label(metric))
        for reason, names in by_reason.items():
            found[f"{where}, {', '.join(names)}: {reason}"] = None
    return list(found)
