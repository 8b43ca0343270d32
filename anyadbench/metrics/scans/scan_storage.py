"""The records of a cell's whole scans as arrays, and back.

What is the same for all subsets (volumes of voxels and lesions) is stored once for each test set. Counts at common
thresholds are stored as differences, and false alarms as places among the scores of lesions (`snap_alarms`), so that
the arrays compress well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.lesions.compact import alarm_levels, found_levels
from anyadbench.metrics.lesions.record import ScanRecord
from anyadbench.metrics.scans.whole_scans import Place, RowScans
from anyadbench.results.arrays import parsed

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt

FORMAT = 1
_DAMAGED = "Records of whole scans are damaged or incomplete; run the cell again."
_COUNTS = ("predicted", "hit", "best_predicted", "best_hit")

Key = tuple[str, str]
"""Subject and scan."""


def to_arrays(rows: Sequence[RowScans]) -> dict[str, np.ndarray]:
    """Return the arrays in which the rows of a cell are stored, those of all rows in one: each array of a file has a
    cost of its own.

    Raises:
        ValueError: If a scan has other lesions or voxels in another subset.
    """
    index: list[dict[str, Any]] = []
    known: dict[str, dict[Key, ScanRecord]] = {}
    for row in rows:
        scans = known.setdefault(row.test, {})
        for key, record in zip(zip(row.subjects, row.scans, strict=True), row.records, strict=True):
            if _shared(scans.setdefault(key, record)) != _shared(record):
                raise ValueError(f"{key[1]} has other lesions in {row.subset}")
    places = {test: {key: number for number, key in enumerate(scans)} for test, scans in known.items()}
    for row in rows:
        own = [places[row.test][key] for key in zip(row.subjects, row.scans, strict=True)]
        entry = {"test": row.test, "subset": row.subset, "rule": row.rule, "threshold": row.threshold}
        index.append(entry | {"grid": list(row.grid), "scans": own})
    tests = {
        test: {"scans": [list(key) for key in scans], "voxel_ml": [one.voxel_ml for one in scans.values()]}
        for test, scans in known.items()
    }
    parts = [_row_arrays(row.records) for row in rows]
    joined = {name: np.concatenate([part[name].ravel() for part in parts]) for name in _ROW_ARRAYS}
    shared = _test_arrays([record for scans in known.values() for record in scans.values()])
    head = {"format": FORMAT, "tests": tests, "rows": index}
    return {"index": np.array(json.dumps(head, sort_keys=True)), **shared, **_packed(joined)}


def _shared(record: ScanRecord) -> tuple[Any, ...]:
    return record.voxel_ml, record.truth, record.lesion_voxels.tobytes()


def _test_arrays(records: Sequence[ScanRecord]) -> dict[str, np.ndarray]:
    voxels = np.concatenate([np.empty(0, np.int64), *(record.lesion_voxels for record in records)])
    lesions = np.array([len(record.lesion_voxels) for record in records], dtype=np.int64)
    truth = np.array([record.truth for record in records], dtype=np.int64)
    return {"truth": _small(truth), "lesions": _small(lesions), "lesion_voxels": _small(voxels)}


def _row_arrays(records: Sequence[ScanRecord]) -> dict[str, np.ndarray]:
    levels = found_levels(records)
    alarms = [alarm_levels(record.alarm_scores, levels) for record in records]
    grid = np.stack([[record.grid_predicted, record.grid_hit] for record in records])
    none = np.empty(0, np.int64)
    return {
        "counts": np.array([[getattr(record, name) for name in _COUNTS] for record in records]).astype(np.int32),
        # Thresholds fall, so the counts only grow.
        "grid": np.diff(grid, axis=2, prepend=0),
        "lesion_scores": np.concatenate([none.astype(np.float32), *(record.lesion_scores for record in records)]),
        "lesion_found": np.concatenate([none.astype(np.bool_), *(one.lesion_found for one in records)]),
        "alarms": np.array([len(places) for places in alarms], dtype=np.int64),
        "alarm_steps": np.concatenate([none, *(np.diff(one, prepend=0) for one in alarms)]),
        "alarm_bins": np.stack([record.alarm_bins for record in records]),
    }


def _packed(joined: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays of the smallest types that fit: bits for booleans, unsigned integers for counts."""
    kept = {"counts": joined["counts"], "lesion_scores": joined["lesion_scores"].astype(np.float32)}
    counted = {name: _small(joined[name]) for name in ("grid", "alarms", "alarm_steps", "alarm_bins")}
    return kept | counted | {"lesion_found": np.packbits(joined["lesion_found"])}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[Place, RowScans]:
    """Return the rows from the arrays of `to_arrays`.

    Raises:
        UserError: If an array is missing, or no scan can have the numbers.
    """
    return parsed(arrays, _rows, _DAMAGED)


def _rows(arrays: Mapping[str, np.ndarray]) -> dict[Place, RowScans]:
    head = json.loads(str(arrays["index"].item()))
    if head["format"] != FORMAT:
        raise UserError("Records of whole scans come from another version; run the cell again.")
    stream = _Stream({name: arrays[name] for name in (*_TEST_ARRAYS, *_ROW_ARRAYS)})
    tests = {name: _Test(stream, entry) for name, entry in head["tests"].items()}
    rows = [_row(stream, entry, tests[entry["test"]]) for entry in head["rows"]]
    stream.finish()
    return {(row.test, row.subset): row for row in rows}


class _Stream:
    """Arrays that are read from the front, part by part."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        whole = ("truth", "lesions", "lesion_voxels", "grid", "alarms", "alarm_steps", "alarm_bins")
        self._arrays = {name: _whole(arrays[name]) if name in whole else arrays[name] for name in arrays}
        self._arrays["lesion_found"] = np.unpackbits(arrays["lesion_found"]).astype(np.bool_)
        if arrays["counts"].dtype != np.int32 or arrays["lesion_scores"].dtype != np.float32:
            raise ValueError
        self._read = dict.fromkeys(arrays, 0)

    def take(self, name: str, *shape: int) -> np.ndarray:
        """Return the next values of an array in a shape.

        Raises:
            ValueError: If there are too few.
        """
        start = self._read[name]
        self._read[name] = start + math.prod(shape)
        return self._arrays[name][start : self._read[name]].reshape(shape)

    def finish(self) -> None:
        """Check that everything was read; bits are filled up to a byte.

        Raises:
            ValueError: If values are left.
        """
        left = {name: len(self._arrays[name]) - read for name, read in self._read.items()}
        if not 0 <= left.pop("lesion_found") < 8 or any(left.values()):
            raise ValueError


class _Test:
    """What the rows of a test set share."""

    def __init__(self, stream: _Stream, entry: Mapping[str, Any]) -> None:
        self.keys: list[Key] = [(str(subject), str(scan)) for subject, scan in entry["scans"]]
        self.voxel_ml = [float(value) for value in entry["voxel_ml"]]
        count = len(self.keys)
        self.truth, lesions = stream.take("truth", count), stream.take("lesions", count)
        voxels = stream.take("lesion_voxels", int(lesions.sum()))
        fits = len(self.voxel_ml) == count and all(math.isfinite(value) for value in self.voxel_ml)
        if not fits or len(set(self.keys)) < count:
            raise ValueError
        self.lesion_voxels = np.split(voxels, np.cumsum(lesions)[:-1])


def _row(stream: _Stream, entry: Mapping[str, Any], test: _Test) -> RowScans:
    own = [int(place) for place in entry["scans"]]
    if not own or len(set(own)) < len(own) or min(own) < 0:
        raise ValueError
    thresholds = tuple(float(value) for value in entry["grid"])
    threshold = None if entry["threshold"] is None else float(entry["threshold"])
    records = _records(stream, own, test, len(thresholds))
    if any(record.has_threshold != (threshold is not None) for record in records):
        raise ValueError
    subjects, scans = (tuple(test.keys[place][part] for place in own) for part in (0, 1))
    return RowScans(
        str(entry["test"]), str(entry["subset"]), str(entry["rule"]), threshold, thresholds, subjects, scans,
        tuple(records),
    )  # fmt: skip


def _records(stream: _Stream, own: Sequence[int], test: _Test, thresholds: int) -> list[ScanRecord]:
    n = len(own)
    voxels = [test.lesion_voxels[place] for place in own]
    ends = np.cumsum([len(one) for one in voxels])
    scores, found = (stream.take(name, int(ends[-1])) for name in ("lesion_scores", "lesion_found"))
    counts, bins = stream.take("counts", n, 4), stream.take("alarm_bins", n, 4)
    grid = np.cumsum(stream.take("grid", n, 2, thresholds), axis=2)
    alarms = stream.take("alarms", n)
    steps = np.split(stream.take("alarm_steps", int(alarms.sum())), np.cumsum(alarms)[:-1])
    scores_of, found_of = np.split(scores, ends[:-1]), np.split(found, ends[:-1])
    levels = np.unique(scores[~np.isnan(scores)])[::-1]
    records = []
    for i, place in enumerate(own):
        predicted, hit, best_predicted, best_hit = (int(value) for value in counts[i])
        record = ScanRecord(
            test.voxel_ml[place], int(test.truth[place]), predicted, hit, best_predicted, best_hit, grid[i, 0],
            grid[i, 1], voxels[i], scores_of[i], found_of[i], levels[np.cumsum(steps[i])], bins[i],
        )  # fmt: skip
        record.check()
        records.append(record)
    return records


_TEST_ARRAYS = ("truth", "lesions", "lesion_voxels")
_ROW_ARRAYS = ("counts", "grid", "lesion_scores", "lesion_found", "alarms", "alarm_steps", "alarm_bins")


def _small(values: np.ndarray) -> UInt[np.ndarray, "*shape"]:
    """Return non-negative integers in the smallest unsigned type that holds them."""
    most = int(values.max()) if values.size else 0
    if values.size and int(values.min()) < 0:
        raise ValueError("a count is negative")
    return values.astype(next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if most <= np.iinfo(t).max))


def _whole(values: np.ndarray) -> Int64[np.ndarray, "*shape"]:
    if values.dtype.kind != "u":
        raise ValueError
    return values.astype(np.int64)
