"""Schema of ``result.json``.

Every number on a board comes from a file of this form. Unknown fields are refused, so that a typo in a submitted file
cannot pass as a missing optional field.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION = 5

Kind = Literal["measured", "oracle", "external", "reported", "control"]
Number = float | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MethodInfo(_Strict):
    """Which method, from which distribution, with which parameters.

    Attributes:
        chosen_on: Test data on whose figures choices of the method were made; empty if there are none.
    """

    name: str
    title: str
    distribution: str
    version: str
    code_hash: str
    params: dict[str, bool | int | float | str]
    budget: Literal["tiny", "demo", "paper", "unknown"]
    training_mask: str
    missing: str
    departures: list[str] = []
    chosen_on: str = ""
    citation: str = ""


class ProtocolInfo(_Strict):
    """Which protocol; ``oracle`` protocols select on test data and are never ranked with measured ones.

    Attributes:
        normals: What training sees: ``lesion-free`` slices of patients, or ``healthy`` subjects.
        shots: How many subjects training sees, chosen by the seed; 0 for all.
        rank_height: Whether image metrics are ranked by the scores normalised by height.
    """

    name: str
    title: str
    version: int
    hash: str
    sequences: list[str]
    subsets: list[str]
    oracle: bool = False
    normals: Literal["lesion-free", "healthy"] = "lesion-free"
    rank_height: bool = False
    shots: int = 0


class WeightsInfo(_Strict):
    """Pretrained weights; ``marked`` weights (random ones) are flagged on every board.

    Kind ``checkpoint`` is the authors' whole published network, evaluated without training.
    """

    name: str
    kind: Literal["hub", "package", "file", "checkpoint", "random", "none", "unknown"]
    profile: str = ""
    architecture: str = ""
    sha256: str | None = None
    licence: str = ""
    provenance: str = ""
    marked: bool = False


class Numerics(_Strict):
    """The numeric policy; byte-identity is promised for one policy on one type of machine.

    ``compile`` records whether ``torch.compile`` was used, for transformer blocks alone (``blocks``) or for everything
    (``on``), or failed and was left out; ``products`` names the library of the CPU's float32 matrix products, empty on
    a GPU.
    """

    device: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    tf32: bool = False
    deterministic: bool = False
    threads: int = 2
    compile: Literal["off", "blocks", "on", "fell back"] = "off"
    products: Literal["", "default", "oneDNN"] = ""


class Threshold(_Strict):
    """Pixel decisions at the threshold carried over from validation normals (their 99th percentile).

    From metric version 3 on, threshold and counts are of the pixels inside the brain.
    """

    value: float
    dice: Number = None
    sensitivity: Number = None
    specificity: Number = None
    precision: Number = None
    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0


class SizeBin(_Strict):
    """Image metrics of the abnormal slices whose lesion area is in one bin, against all normal slices.

    Attributes:
        low: Smallest area of the bin, in pixels of the native slice.
        high: First area above the bin; ``None`` for the last.
        n: Abnormal slices in the bin.
    """

    low: int
    high: int | None
    n: int
    image_auroc: Number = None
    image_ap: Number = None
    image_f1: Number = None


class VolumeBin(_Strict):
    """Lesions and false alarms of one bin of volumes, lesions by their true volume and false alarms by their own.

    Attributes:
        low_ml: Smallest volume.
        high_ml: First volume above the bin; ``None`` for the last.
        lesions: Lesions of all scans.
        found: Those found at the threshold; ``None`` without a threshold.
        alarms: False alarms at the threshold.
    """

    low_ml: float
    high_ml: float | None
    lesions: int
    found: int | None = None
    alarms: int | None = None


class Scans(_Strict):
    """The whole scans of a row (docs/lesions.md defines the metrics).

    Attributes:
        rule: When a lesion is found.
        threshold: Score above which a voxel is flagged, from validation normals.
        common_threshold: The one threshold for all scans with the highest mean Dice.
        metrics: Value by name; ``None`` where it is undefined.
        intervals: Ends of the 95 % interval over subjects by name; absent where there is none.
        reasons: One sentence for each undefined metric, for each without an interval (key ``<name>_interval``), and
            for intervals that all lack (key ``intervals``).
        bins: By volume of lesions: all four bins, or none.
    """

    n_subjects: int
    n_scans: int
    n_lesions: int
    rule: str
    threshold: Number = None
    common_threshold: Number = None
    metrics: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]] = {}
    reasons: dict[str, str] = {}
    bins: list[VolumeBin] = []

    @field_validator("bins")
    @classmethod
    def _all_or_none(cls, value: list[VolumeBin]) -> list[VolumeBin]:
        if len(value) not in (0, 4):
            raise ValueError(f"has {len(value)} bins of volume; a row has all four, or none")
        return value


class AlarmGroup(_Strict):
    """Alarms of the healthy test subjects of one age group, sex or site.

    Attributes:
        by: What subjects are grouped by.
        low: Low end of the 95 % interval of the share.
    """

    by: Literal["age", "sex", "site"]
    name: str
    n: int
    alarms: int
    low: float
    high: float


class Alarms(_Strict):
    """A promise about alarms of healthy subjects, and what was seen (docs/metrics.md).

    Attributes:
        promise: Share of healthy subjects that alarm at most.
        n_validation: Healthy validation subjects, which the threshold comes from.
        n_healthy: Healthy test subjects.
        n_patients: Other test subjects.
        threshold: Subject score above which a subject alarms; ``None`` where nothing can be promised.
        alarms: Healthy test subjects that alarm.
        rate: Their share.
        low: Low end of its 95 % interval.
        p: Chance of at least as many alarms if the promise holds.
        broken: Whether that chance is at most .05.
        detected: Patients that alarm.
        sensitivity: Their share.
        groups: By age, sex and site, where the data set names them.
        reason: Why nothing can be promised.
    """

    promise: float
    n_validation: int
    n_healthy: int
    n_patients: int = 0
    threshold: Number = None
    alarms: int | None = None
    rate: Number = None
    low: Number = None
    high: Number = None
    p: Number = None
    broken: bool = False
    detected: int | None = None
    sensitivity: Number = None
    sensitivity_low: Number = None
    sensitivity_high: Number = None
    groups: list[AlarmGroup] = []
    reason: str = ""


class Boxes(_Strict):
    """The boxes that maps draw, against those that mark lesions (docs/datasets.md defines the numbers).

    Attributes:
        threshold: Score above which pixels form detections, from validation normals.
        metrics: Value by name; ``None`` where it is undefined.
        intervals: Ends of the 95 % interval over subjects by name; absent where there is none.
        reasons: One sentence for each undefined number, for each without an interval (key ``<name>_interval``), and for
            intervals that all lack (key ``intervals``).
    """

    n_subjects: int
    n_images: int
    n_boxes: int
    threshold: Number = None
    metrics: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]] = {}
    reasons: dict[str, str] = {}


class Site(_Strict):
    """The main metrics of the subjects of one site.

    Attributes:
        reason: Why there is no interval; empty if there are intervals.
    """

    site: str
    n_subjects: int
    n_slices: int
    n_abnormal: int
    metrics: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]] = {}
    reason: str = ""


class Row(_Strict):
    """One subset on one test set.

    Attributes:
        test: Name of the test set.
        subset: Label such as ``F+T1`` or ``as available``.
        n_emptied: Abnormal slices that have no lesion pixel on the scoring grid: cropped away, or too small for it.
        pixels: ``exact``, or ``streaming`` for a 24-bit histogram, whose error ``error_bound`` then limits.
        metrics: Value by metric name; ``None`` where it is undefined.
        reasons: One sentence for each undefined metric, and for a row without scans (key ``row``).
        intervals: Lower and upper end of the 95 % interval over subjects by metric name; absent where there is none.
        sizes: Image metrics by lesion size; empty in results of schema version 1.
        scans: Whole scans, where the protocol asks for them.
        alarms: Alarms of healthy subjects by promise, where the data sets have healthy subjects.
        sites: Metrics by site, where the data set names at least two.
        boxes: Numbers of boxes, where lesions are marked by boxes.
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
    sizes: list[SizeBin] = []
    threshold: Threshold | None = None
    scans: Scans | None = None
    alarms: list[Alarms] = []
    sites: list[Site] = []
    boxes: Boxes | None = None


class TrainingCoverage(_Strict):
    """Training normals by sequence and subset.

    Attributes:
        slices: All of them.
        sequences: Slices whose scan has the sequence, by canonical name.
        subsets: Slices whose scan has all of the subset, by label.
    """

    slices: int
    sequences: dict[str, int]
    subsets: dict[str, int] = {}

    @property
    def never(self) -> tuple[str, ...]:
        """Sequences that no training slice has."""
        return tuple(name for name, count in self.sequences.items() if count == 0)


class TrainingCurve(_Strict):
    """The losses of one training, thinned: at most 60 points, and about 4 KB for all curves of a result.

    Attributes:
        subset: With one model per subset: the subset's label; else empty.
        steps: Last step of each point.
        losses: Each named loss by point: the mean of the steps since the point before, ``None`` where it is undefined.
            Where many losses and models do not fit, the only one is ``sum of the losses``.
    """

    subset: str = ""
    steps: list[int]
    losses: dict[str, list[Number]]


class CellResult(_Strict):
    """All rows of one cell, and everything that they depend on.

    Attributes:
        trained_on: Training normals by sequence and subset; ``None`` where it is not recorded or nothing was trained.
        source: Publication of a reported row, or the program that computed an external one.
        files: SHA-256 of each of the cell's files from which its numbers can be checked.
        training: Losses of its training; empty for a method without gradient training. All rows: ``training.csv``.
    """

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
    trained_on: TrainingCoverage | None = None
    rows: list[Row]
    timings: dict[str, float] = {}
    memory: dict[str, float] = {}
    source: str = ""
    files: dict[str, str] = {}
    training: list[TrainingCurve] = []
