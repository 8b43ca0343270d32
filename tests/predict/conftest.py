"""A trained cell as a predictor, and a scan of a phantom patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import pytest
from tiny import scan_path

import anyadbench


@pytest.fixture(scope="module")
def predictor(trained_cells: dict[str, Path]) -> Any:
    return anyadbench.load(trained_cells["pixelstats"])


@pytest.fixture(scope="module")
def flair(tiny_phantom: Path) -> Any:
    return nibabel.load(scan_path(tiny_phantom, "Phantom_001_1", "flair"))
