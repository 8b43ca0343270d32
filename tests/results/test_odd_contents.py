"""Well-formed files with contents that no run writes are damage, in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.results.arrays import save_arrays
from anyadbench.results.box_file import read_boxes_of
from anyadbench.results.kept_maps import read_maps

ODD: list[Any] = [float("inf"), float("nan"), [], {}, "x", None]


@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{value}"[:8])
def test_odd_numbers_of_boxes_are_damage(value: Any, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    image = {"subject": "a", "scan": "a", "slice": 1, "hit": False, "boxes": [], "detections": []}
    for change in ({"slice": value}, {"boxes": [[value, 1, 1, 1]]}, {"detections": value or 3}):
        rows = [{"test": "t", "subset": "F", "threshold": 1.0, "images": [image | change]}]
        (tmp_path / "scores/boxes.json").write_text(json.dumps({"format": 1, "rows": rows}))
        with pytest.raises(UserError, match=r"scores/boxes\.json is damaged; run the cell again\.$"):
            read_boxes_of(tmp_path)


@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{value}"[:8])
def test_odd_facts_of_maps_are_damage(value: Any, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    kept = {"subject": "a", "scan": "a", "slice": 1, "test": "t", "lesion_px": 0, "image_scores": {}}
    for change in ({"slice": value}, {"image_scores": value or 3}):
        info = {"subsets": ["F"], "sequences": ["F"], "slices": [kept | change]}
        maps = np.zeros((1, 1, 2, 2), np.float32)
        save_arrays(tmp_path / "scores/maps.npz", {"info": np.array(json.dumps(info)), "maps": maps})
        found = read_maps(tmp_path)
        assert isinstance(found, str) and found.endswith("scores/maps.npz is damaged; run the cell again.")
