"""The result of a cell: its schema, and reading it back. No torch, no numpy at import."""

from __future__ import annotations

from anyadbench.results.schema import (
    SCHEMA_VERSION,
    CellResult,
    MethodInfo,
    Numerics,
    ProtocolInfo,
    Row,
    SizeBin,
    Threshold,
    TrainingCurve,
    WeightsInfo,
)

__all__ = [
    "SCHEMA_VERSION",
    "CellResult",
    "MethodInfo",
    "Numerics",
    "ProtocolInfo",
    "Row",
    "SizeBin",
    "Threshold",
    "TrainingCurve",
    "WeightsInfo",
]
