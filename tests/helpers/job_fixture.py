"""A planned cell of an arbitrary method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from anyadbench.cells.job import Job


def planned(runs: Path, **changes: Any) -> Job:
    """Return a job in a runs folder; nothing is written."""
    plain = Job(
        runs=str(runs), cell_id="c" * 64, fit_id="f" * 64, method="mine", protocol="tiny", protocol_file="", seed=0,
        params={}, budget="tiny", missing="native", weights="package", stores={}, policy={"threads": 1},
    )  # fmt: skip
    return replace(plain, **changes)
