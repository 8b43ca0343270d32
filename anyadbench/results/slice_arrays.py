"""The slice table as arrays: each slice once for all subsets, and one score for each slice of each row.

The arrays hold the same numbers as ``scores/slices.csv`` in about a sixth of the space.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.results.arrays import parsed_arrays, save_arrays

if TYPE_CHECKING:
    import numpy as np

RowKey = tuple[str, str]
SliceRecord = dict[str, Any]

COLUMNS = ("test", "subset", "subject", "scan", "slice", "height_mm", "label", "lesion_px", "brain", "image_score")
"""Those of ``scores/slices.csv``."""

_TEXTS = ("test", "subject", "scan")
FURTHER = ("image_score_height", "aupimo")
"""Further scores, in tables that have them: ``None`` in a record, and NaN in an array, where a slice has none."""

_FACTS = {"slice": "i8", "height_mm": "f8", "label": "i8", "lesion_px": "i8", "brain": "f8"}
"""What every row says alike of a slice; the rest is the row's subset and its score."""

SOMETIMES = ("ignored_px",)
"""Further such facts, whole numbers, in tables of data sets that need them; 0 where a slice has none."""

FORMAT = 1

MAX_BYTES = 64 * 2**20
"""Unpacked size above which a file is refused."""


def save_slices(path: Path, slices: Mapping[RowKey, Sequence[SliceRecord]]) -> None:
    """Write the slice table of a cell; the rows keep their order, and so do their slices.

    Raises:
        UserError: If the file cannot be written.
    """
    import numpy as np

    texts: dict[tuple[str, ...], int] = {}
    known: dict[tuple[Any, ...], int] = {}
    rows, places, scores = [], [], []
    kinds = dict(_FACTS)
    kinds |= {name: "i8" for name in SOMETIMES if any(name in one for listed in slices.values() for one in listed)}
    further: dict[str, list[float]] = {}
    for (test, subset), records in slices.items():
        rows.append([test, subset, len(records)])
        for record in records:
            text = texts.setdefault(tuple(record[name] for name in _TEXTS), len(texts))
            facts = (record.get(name, 0) if name in SOMETIMES else record[name] for name in kinds)
            places.append(known.setdefault((text, *facts), len(known)))
            scores.append(record["image_score"])
            for name in FURTHER:
                if name in record:
                    further.setdefault(name, []).append(math.nan if record[name] is None else record[name])
    columns = list(zip(*known, strict=True)) if known else [()] * (1 + len(kinds))
    arrays = {"scan": _small(columns[0], "i8"), "place": _small(places, "i8"), "image_score": _small(scores, "f8")}
    arrays |= {name: _small(values, kinds[name]) for name, values in zip(kinds, columns[1:], strict=True)}
    arrays |= {name: _small(values, "f8") for name, values in further.items()}
    head = {"format": FORMAT, "rows": rows, "scans": list(texts)}
    save_arrays(path, {"index": np.array(json.dumps(head, separators=(",", ":"))), **arrays})


def load_slices(path: Path, source: str) -> dict[RowKey, list[SliceRecord]]:
    """Read what `save_slices` wrote.

    Args:
        path: The file.
        source: Its name in messages.

    Raises:
        UserError: If it is damaged.
    """
    return parsed_arrays(path, source, MAX_BYTES, _records, "publish the cell again")


def _records(arrays: Mapping[str, Any]) -> dict[RowKey, list[SliceRecord]]:
    import numpy as np

    head = json.loads(str(arrays["index"].item()))
    kinds = _FACTS | {name: "i8" for name in SOMETIMES if name in arrays}
    if head["format"] != FORMAT or any(arrays[name].ndim != 1 for name in ("scan", "place", "image_score", *kinds)):
        raise ValueError("format")
    count = len(arrays["scan"])
    if any(len(arrays[name]) != count or not np.isfinite(arrays[name]).all() for name in kinds):
        raise ValueError("facts")
    if not set(arrays["label"].tolist()) <= {0, 1} or not np.isfinite(arrays["image_score"]).all():
        raise ValueError("values")
    scans = [dict(zip(_TEXTS, map(str, texts), strict=True)) for texts in head["scans"]]
    facts = {name: arrays[name].astype(kind).tolist() for name, kind in kinds.items()}
    places, scores = arrays["place"].tolist(), arrays["image_score"].astype("f8").tolist()
    more = _further(arrays, len(scores))
    if (
        len(places) != len(scores)
        or sum(int(row[2]) for row in head["rows"]) != len(places)
        or min(places, default=0) < 0
    ):
        raise ValueError("rows")
    found: dict[RowKey, list[SliceRecord]] = {}
    taken = 0
    for test, subset, number in head["rows"]:
        listed = found.setdefault((str(test), str(subset)), [])
        part = slice(taken, taken + number)
        for place, score, further in zip(places[part], scores[part], more[part], strict=True):
            values = {**scans[arrays["scan"][place]], "subset": subset, "image_score": score}
            values |= {name: column[place] for name, column in facts.items()}
            if values["test"] != test:
                raise ValueError("test")
            listed.append({name: values[name] for name in (*COLUMNS, *SOMETIMES) if name in values} | further)
        taken += number
    return found


def _further(arrays: Mapping[str, Any], count: int) -> list[dict[str, float | None]]:
    """Return the further scores of each slice of each row that the table has."""
    import numpy as np

    columns = {name: arrays[name].astype("f8") for name in FURTHER if name in arrays}
    if any(values.shape != (count,) or np.isinf(values).any() for values in columns.values()):
        raise ValueError("further")
    found: list[dict[str, float | None]] = [{} for _ in range(count)]
    for name, values in columns.items():
        for record, value in zip(found, values.tolist(), strict=True):
            record[name] = None if math.isnan(value) else value
    return found


def _small(values: Sequence[Any], kind: str) -> np.ndarray:
    """Return numbers in the smallest type that holds all of them exactly."""
    import numpy as np

    wide = np.array(values, dtype=kind)
    types = (np.uint8, np.uint16, np.uint32, np.int64) if kind == "i8" else (np.float32, np.float64)
    with np.errstate(over="ignore"):
        return next(small for each in types if np.array_equal(small := wide.astype(each), wide, equal_nan=kind == "f8"))
