"""Sizes that the engine fixes, and how they make a training's length."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from places import ROOT

from anyadbench.engine import settings
from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.settings import batch_size, batches_per_epoch, training_steps
from anyadbench.launch.forecast import Count, Outlook, count_cost
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.results.schema import TrainingCoverage


@pytest.mark.parametrize(
    ("slices", "size", "drop_last", "batches"),
    [(12, 4, False, 3), (12, 4, True, 3), (13, 4, False, 4), (13, 4, True, 3), (3, 4, True, 1), (3, 4, False, 1)],
)
def test_the_batches_of_an_epoch(slices: int, size: int, drop_last: bool, batches: int) -> None:
    assert batches_per_epoch(slices, size, drop_last) == batches


@pytest.mark.parametrize("params", [{"epochs": 3}, {"steps": 7}, {"epochs": 3, "steps": 7}, {}])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_forecast_counts_the_steps_of_the_training(params: dict[str, int], drop_last: bool) -> None:
    params = params | {"batch_size": 4, "drop_last": drop_last}
    for slices in range(1, 14):
        rows = np.arange(slices)
        feed = TrainingFeed(None, rows, "none", 0, batch_size(params), drop_last, torch.device("cpu"))  # type: ignore[arg-type]
        outlook = Outlook(
            Count("train", 1, slices),
            Count("validation", 1, 1),
            "subjects",
            [],
            TrainingCoverage(slices=slices, sequences={}),
            0,
        )
        starts = range(0, 4 * feed.batches_per_epoch, 4)
        held = [len(rows[start : start + 4]) for _ in range(3) for start in starts]
        assert [feed.seen(steps) for steps in range(len(held) + 1)] == [0, *np.cumsum(held)]
        cost = count_cost(MethodDescriptor("m", "M", "s", "m:build"), params, "tiny", outlook)
        assert cost.steps == training_steps(params, feed.batches_per_epoch)


def test_every_size_is_defined_once() -> None:
    sizes = {name for name in vars(settings) if name.isupper()}
    assert {"EXACT_PIXELS", "KEPT_SUBJECTS", "KEPT_SLICES", "SCORING_BATCH", "VALIDATION_SLICES"} <= sizes
    pattern = re.compile(rf"^({'|'.join(sorted(sizes))})\b[^\n=]*=", re.MULTILINE)
    found = [
        (path.name, match[1])
        for path in (ROOT / "anyadbench").rglob("*.py")
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert sorted(found) == sorted(("settings.py", name) for name in sizes)


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, anyadbench.engine.settings, anyadbench.launch.resources, anyadbench.launch.forecast\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
