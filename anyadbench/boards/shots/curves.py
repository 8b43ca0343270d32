"""Joining the boards of a family of protocols into curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from anyadbench.boards.aggregate.model import Board, ShotCurve, ShotPoint


def with_shots(boards: Sequence[Board], known: Mapping[str, str]) -> list[Board]:
    """Add to each board the curves of its family; boards of one family show the same curves.

    Args:
        boards: Boards with one protocol and metric version each.
        known: Family by hash of the protocol.
    """
    groups: dict[tuple[str, str], list[Board]] = defaultdict(list)
    for board in boards:
        if board.protocol.hash in known:
            groups[known[board.protocol.hash], board.metric_version].append(board)
    curves = {key: tuple(_curves(_one_per_count(members))) for key, members in groups.items()}
    return [replace(board, shots=curves.get((known.get(board.protocol.hash, ""), board.metric_version), ()))
            for board in boards]  # fmt: skip


def _one_per_count(boards: Sequence[Board]) -> list[Board]:
    """Return one board for each number of subjects, all subjects last; of several the first by name."""
    by_count: dict[int, Board] = {}
    for board in sorted(boards, key=lambda board: board.slug):
        by_count.setdefault(board.protocol.shots, board)
    return sorted(by_count.values(), key=lambda board: _place(board.protocol.shots))


def _place(shots: int) -> float:
    return shots or float("inf")


def _curves(boards: Sequence[Board]) -> Iterator[ShotCurve]:
    """Yield the curve of each variant, test set and metric that has a mean on at least two boards."""
    variants = {variant.key: variant for board in boards for variant in board.variants if variant.kind != "reported"}
    tests = dict.fromkeys(test for board in boards for test in board.tests)
    metrics = dict.fromkeys(metric for board in boards for metric in board.metrics)
    for test in tests:
        for metric in metrics:
            for key, variant in variants.items():
                points = [point for board in boards if (point := _point(board, key, test, metric)) is not None]
                if len(points) > 1:
                    yield ShotCurve(key, variant.label, variant.kind, test, metric, tuple(points))


def _point(board: Board, key: str, test: str, metric: str) -> ShotPoint | None:
    item = board.summary(key, test, metric)
    if item is None or item.mean is None:
        return None
    low, high = item.mean_interval
    seeds = next(variant.seeds for variant in board.variants if variant.key == key)
    return ShotPoint(board.protocol.shots, board.protocol.name, item.mean, low, high, seeds)
