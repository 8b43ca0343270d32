"""Rows that publications report: read from small files, shown with their source, never ranked with measured rows."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.metrics import METRICS
from anyadbench.names import entries
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import CellResult, MethodInfo, Numerics, ProtocolInfo, Row, WeightsInfo
from anyadbench.tables import read_text

NOT_STATED = "not stated"
"""Subset of a row whose source does not state the sequences."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Reported(_Strict):
    method: str
    title: str
    values: list[float]
    subset: str = NOT_STATED
    source: str = ""


class _Table(_Strict):
    protocol: str
    title: str
    sequences: list[str]
    subsets: list[str]
    test: str
    source: str
    metrics: list[str]
    remarks: list[str] = []
    row: list[_Reported]


def read_reported(folder: Path) -> list[CellRecord]:
    """Read every table of a folder, one record per method.

    Raises:
        UserError: If a file is not a table, or a number is not between 0 and 1.
    """
    return [record for path in entries(folder) if path.suffix == ".toml" for record in _records(path)]


def _records(path: Path) -> list[CellRecord]:
    try:
        table = _Table.model_validate(tomllib.loads(read_text(path)))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}; correct the file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); correct the file.") from None
    for entry in table.row:
        if len(entry.values) != len(table.metrics) or not all(0 <= value <= 1 for value in entry.values):
            raise UserError(
                f"{path}: {entry.title} needs {len(table.metrics)} values between 0 and 1; correct the row."
            )
    unknown = sorted(set(table.metrics) - set(METRICS))
    if unknown:
        raise UserError(f"{path}: unknown metrics {', '.join(unknown)}; use {', '.join(METRICS)}.")
    methods: dict[tuple[str, str, str], list[_Reported]] = {}
    for entry in table.row:
        methods.setdefault((entry.method, entry.title, entry.source or table.source), []).append(entry)
    return [_record(path, table, *key, rows) for key, rows in methods.items()]


def _record(path: Path, table: _Table, method: str, title: str, source: str, rows: list[_Reported]) -> CellRecord:
    identity = stable_hash([table.protocol, table.test, method, title, source])
    common: dict[str, Any] = dict.fromkeys(("n_subjects", "n_scans", "n_slices", "n_normal", "n_abnormal"), 0)
    result = CellResult(
        kind="reported",
        cell_id=f"reported-{identity[:16]}",
        fit_id="",
        method=MethodInfo(
            name=method, title=title, distribution="", version="", code_hash="", params={}, budget="unknown",
            training_mask="unknown", missing="unknown", departures=table.remarks, citation=source,
        ),
        protocol=ProtocolInfo(
            name=table.protocol, title=table.title, version=0, hash="", sequences=table.sequences,
            subsets=table.subsets,
        ),
        weights=WeightsInfo(name="unknown", kind="unknown"),
        numerics=Numerics(device="unknown"),
        seed=0,
        metric_version="as published",
        rows=[
            Row(
                test=table.test, subset=entry.subset, sequences=[], **common,
                metrics=dict(zip(table.metrics, entry.values, strict=True)),
            )
            for entry in rows
        ],
        source=source,
    )  # fmt: skip
    return CellRecord(path, "done", method, table.protocol, None, result=result)
