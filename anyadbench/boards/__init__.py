"""Leaderboards: from result files to tables, CSV, Markdown and one HTML page, all without torch."""

from __future__ import annotations

from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.build import BuiltBoard, build_boards, print_board

__all__ = ["BuiltBoard", "build_boards", "load_boards", "print_board"]
