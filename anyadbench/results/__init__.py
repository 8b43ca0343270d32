"""The result of a cell: its schema, and reading it back. No torch, no numpy at import."""

from __future__ import annotations

from anyadbench.results.schema import (
    SCHEMA_VERSION,
    Alarms,
    CellResult,
    MethodInfo,
    Numerics,
    ProtocolInfo,
    Row,
    Scans,
    Site,
    SizeBin,
    Threshold,
    TrainingCurve,
    WeightsInfo,
)

__all__ = [
    "SCHEMA_VERSION",
    "Alarms",
    "CellResult",
    "MethodInfo",
    "Numerics",
    "ProtocolInfo",
    "Row",
    "Scans",
    "Site",
    "SizeBin",
    "Threshold",
    "TrainingCurve",
    "WeightsInfo",
]
