"""The headline metric by encoder and method."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render.text import DASH, decimal, span
from anyadbench.weights.encoders import encoder_label

_NONE = "none"


@dataclass(frozen=True)
class EncoderTable:
    """One test set.

    Attributes:
        metric: Name of the metric.
        heads: ``Encoder`` and the methods.
        rows: The name of an encoder, and the mean over subsets with its interval for each method; several variants of a
            method with one encoder are separated by a semicolon.
    """

    test: str
    metric: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def variant_encoder(variant: Variant) -> str:
    """Return the name of the encoder that a variant starts from, or ``none``."""
    weights = variant.weights
    return _NONE if weights.kind in ("none", "unknown") else encoder_label(weights.name, weights.architecture)


def encoder_tables(board: Board) -> list[EncoderTable]:
    """Return a table per test set; none unless some method has results with at least two encoders."""
    groups: dict[str, dict[str, list[Variant]]] = defaultdict(lambda: defaultdict(list))
    for variant in board.variants:
        if variant.kind in ("measured", "oracle") and variant_encoder(variant) != _NONE:
            groups[variant.method.title or variant.method.name][variant_encoder(variant)].append(variant)
    compared = {method: found for method, found in groups.items() if len(found) > 1}
    names = sorted({encoder for found in compared.values() for encoder in found})
    return [
        EncoderTable(
            test,
            board.headline,
            ("Encoder", *compared),
            tuple((name, *(_cell(board, found.get(name, []), test) for found in compared.values())) for name in names),
        )
        for test in board.tests
        if compared
    ]


def _cell(board: Board, variants: list[Variant], test: str) -> str:
    items = [board.summary(variant.key, test, board.headline) for variant in variants]
    shown = [f"{decimal(item.mean)} {span(*item.mean_interval)}".strip() for item in items if item is not None]
    return "; ".join(shown) or DASH
