"""The budget ``demo`` is one budget: the same number of training slices for every method that trains by gradient."""

from __future__ import annotations

import pytest

from anyadbench.api import DEMO_SLICES
from anyadbench.plugins import load_methods


def trained() -> dict[str, dict[str, object]]:
    """Return the parameters under ``demo`` of every method that counts steps and belongs to a published family."""
    found = {}
    for name, method in load_methods().items():
        if set(method.families) & {"table", "anomalib", "rivals"} and "demo" in method.budgets:
            values = method.resolve("demo", {})
            if "steps" in values and "batch_size" in values:
                found[name] = values
    return found


def test_demo_shows_every_method_the_same_number_of_slices() -> None:
    methods = trained()
    if len(methods) < 15:
        pytest.skip("the distributions with the methods of the table are not installed")
    seen = {name: int(v["steps"]) * int(v["batch_size"]) for name, v in methods.items() if v["steps"]}  # type: ignore[call-overload]
    assert {name: slices for name, slices in seen.items() if slices != DEMO_SLICES} == {}
    assert [name for name in seen if methods[name].get("epochs")] == []
    assert len(seen) >= 15
