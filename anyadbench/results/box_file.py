"""The boxes that a cell stores: each picture once for each row, with its boxes and what the map draws."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.files import write_text
from anyadbench.results.arrays import ODD
from anyadbench.results.read import inside

if TYPE_CHECKING:
    from anyadbench.metrics.boxes.row import RowBoxes

FILE = "scores/boxes.json"
_FORMAT = 1
_MOST_BYTES = 256 * 2**20


def write_boxes(path: Path, rows: Iterable[RowBoxes]) -> None:
    """Write the boxes of rows; numbers read back exactly."""
    listed = [
        {
            "test": row.test,
            "subset": row.subset,
            "threshold": row.threshold,
            "images": [
                {
                    "subject": subject, "scan": scan, "slice": number, "hit": image.hit,
                    "boxes": [[float(value) for value in box] for box in image.boxes],
                    "detections": [[*item.box, item.score] for item in image.detections],
                }
                for subject, (scan, number), image in zip(row.subjects, row.slices, row.images, strict=True)
            ],
        }
        for row in rows
    ]  # fmt: skip
    write_text(path, json.dumps({"format": _FORMAT, "rows": listed}, separators=(",", ":")) + "\n")


def read_boxes_of(folder: Path) -> dict[tuple[str, str], RowBoxes]:
    """Return the boxes of a cell's rows by test set and subset; none if there is no such file.

    Raises:
        UserError: If the file is damaged.
    """
    path = inside(folder, FILE)
    if path is None:
        return {}
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("size")
        head = json.loads(path.read_text(encoding="utf-8"))
        if head["format"] != _FORMAT:
            raise ValueError("format")
        rows = [_row(item) for item in head["rows"]]
    except (OSError, *ODD):
        raise UserError(f"{folder.name}/{FILE} is damaged; run the cell again.") from None
    return {(row.test, row.subset): row for row in rows}


def _row(item: Mapping[str, Any]) -> RowBoxes:
    from anyadbench.metrics.boxes.row import row_boxes

    found = [(str(one["subject"]), str(one["scan"]), int(one["slice"]), _image(one)) for one in item["images"]]
    threshold = None if item["threshold"] is None else _number(item["threshold"])
    if not found or (threshold is None and any(image.detections for *_, image in found)):
        raise ValueError("images")
    return row_boxes(str(item["test"]), str(item["subset"]), threshold, found)


def _image(one: Mapping[str, Any]) -> Any:
    import numpy as np

    from anyadbench.metrics.boxes.detections import Detection
    from anyadbench.metrics.boxes.numbers import BoxImage

    boxes = np.array([[_number(value) for value in box] for box in one["boxes"]], dtype=np.float64).reshape(-1, 4)
    detections = []
    for left, top, width, height, score in one["detections"]:
        box = (_number(left), _number(top), _number(width), _number(height))
        detections.append(Detection(box, _number(score)))
    sizes = [*boxes[:, 2:].ravel().tolist(), *(value for item in detections for value in item.box[2:])]
    if not isinstance(one["hit"], bool) or any(size <= 0 for size in sizes):
        raise ValueError("box")
    return BoxImage(boxes, detections, one["hit"])


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError("number")
    return number
