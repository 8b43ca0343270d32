"""Which metrics the table of one method shows on a terminal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from anyadbench.boards.render.terminal import _columns
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS


def columns(*names: str) -> list[str]:
    board: Any = SimpleNamespace(metrics=names)
    return _columns(board)


def test_scores_that_are_normalised_by_height_replace_the_others() -> None:
    found = columns(*METRICS, *BALANCED, *BRAIN, *HEIGHT, "aupimo")
    assert found[:3] == list(HEIGHT) and not {"image_auroc", "image_ap", "image_f1"} & set(found)
    assert len(found) == 8 and "brain_ap" in found and "aupimo" not in found


def test_without_them_and_with_room_every_metric_is_shown() -> None:
    assert columns("image_auroc", "pixel_ap", "mine") == ["image_auroc", "pixel_ap", "mine"]
