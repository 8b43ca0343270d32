"""Schema of ``result.json``.

Every number on a board comes from a file of this form. Unknown fields are refused, so that a typing mistake in a
submitted file cannot pass as a missing optional field.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Kind = Literal["measured", "oracle", "reported"]
Number = float | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MethodInfo(_Strict):
    """Which method, from which distribution, with which parameters."""

    name: str
    title: str
    distribution: str
    version: str
    code_hash: str
    params: dict[str, bool | int | float | str]
    budget: Literal["tiny", "demo", "paper"]
    training_mask: str
    missing: str
    departures: list[str] = []
    citation: str = ""


class ProtocolInfo(_Strict):
    """Which protocol; ``oracle`` protocols select on test data and are never ranked with measured ones."""

    name: str
    title: str
    version: int
    hash: str
    sequences: list[str]
    subsets: list[str]
    oracle: bool = False


class WeightsInfo(_Strict):
    """Pretrained weights; ``marked`` weights (random ones) are flagged on every board."""

    name: str
    kind: Literal["hub", "package", "file", "random", "none"]
    profile: str = ""
    architecture: str = ""
    sha256: str | None = None
    licence: str = ""
    provenance: str = ""
    marked: bool = False


class Numerics(_Strict):
    """The numeric policy; byte-identity is promised for one policy on one type of machine."""

    device: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tf32: bool = False
    deterministic: bool = False
    threads: int = 2


class Threshold(_Strict):
    """Pixel decisions at the threshold carried over from validation normals (their 99th percentile)."""

    value: float
    dice: Number = None
    sensitivity: Number = None
    specificity: Number = None
    precision: Number = None
    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0


class Row(_Strict):
    """One subset on one test set.

    Attributes:
        test: Name of the test set.
        subset: Label such as ``F+T1`` or ``as available``.
        n_emptied: Abnormal slices that have no lesion pixel on the scoring grid: cropped away, or too small for it.
        pixels: ``exact``, or ``streaming`` for a 24-bit histogram, whose ``error_bound`` then stands beside it.
        metrics: Value by metric name; ``None`` where it is undefined.
        reasons: One sentence for each undefined metric, and for a row without scans (key ``row``).
        intervals: Low and high end of the 95 % subject-level bootstrap interval by metric name.
    """

    test: str
    subset: str
    sequences: list[str]
    feed: dict[str, str] = {}
    n_subjects: int
    n_scans: int
    n_slices: int
    n_normal: int
    n_abnormal: int
    n_emptied: int = 0
    pixels: Literal["exact", "streaming"] = "exact"
    error_bound: dict[str, float] = {}
    metrics: dict[str, Number]
    reasons: dict[str, str] = {}
    intervals: dict[str, tuple[Number, Number]] = {}
    threshold: Threshold | None = None


class CellResult(_Strict):
    """All rows of one cell with what they depend on."""

    schema_version: int = Field(default=SCHEMA_VERSION)
    kind: Kind = "measured"
    cell_id: str
    fit_id: str
    method: MethodInfo
    protocol: ProtocolInfo
    weights: WeightsInfo
    numerics: Numerics
    seed: int
    metric_version: str
    train: dict[str, int | str] = {}
    rows: list[Row]
    timings: dict[str, float] = {}
    memory: dict[str, float] = {}
