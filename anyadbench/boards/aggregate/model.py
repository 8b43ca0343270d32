"""The parts of a board, after aggregation and before any output format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anyadbench.results.read import CellRecord
from anyadbench.results.schema import Alarms, MethodInfo, ProtocolInfo, Site, Threshold, WeightsInfo

Ends = tuple[float | None, float | None]
"""Low and high end of an interval."""

KINDS = ("measured", "oracle", "external", "reported", "control")
"""Kinds of rows, in the order of their sections; they are never ranked together."""

RANKED = ("measured", "external")
"""Kinds that are ranked, each for itself."""

Verdict = Literal["better", "not better", "below", "untested"]


@dataclass(frozen=True)
class Estimate:
    """One number of a board.

    Attributes:
        value: Mean over seeds; ``None`` if any seed lacks it.
        low: Low end of the 95 % interval over test subjects, and over seeds if there are several.
        high: High end.
        seed_min: Smallest value over seeds.
        seed_max: Largest value over seeds.
        reason: Why there is no value.
        no_interval: Why there is a value but no interval.
        remark: What is not in the interval, and whether the value is not; parts are separated by a semicolon.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    seed_min: float | None = None
    seed_max: float | None = None
    reason: str = ""
    no_interval: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Against:
    """A number compared with that of the best control on the same slices, by subject.

    Attributes:
        control: Key of the control.
        difference: The number less the control's.
        low: Low end of the difference's 95 % interval; ``None`` without one.
        high: High end.
        p: Two-sided p-value of this one comparison; ``None`` without a test.
        verdict: ``better`` if p_holm is at most .05 and the difference positive, ``below`` if it is not positive,
            ``untested`` without a test, else ``not better``.
        reason: Why there is no test.
        p_holm: Corrected by Holm's method over all methods of the board, their subsets and means, in this metric and on
            this test set.
        t: The statistic of the comparison; ``None`` without a test.
        df: Its degrees of freedom.
    """

    control: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    reason: str = ""
    p_holm: float | None = None
    t: float | None = None
    df: float | None = None


@dataclass(frozen=True)
class PairTable:
    """Which method beats which, in one metric on one test set, with the family-wise error of all pairs.

    Attributes:
        keys: The tested variants, in order of rank; all ranked ones if there is no test.
        beats: Whether the i-th is significantly better than the j-th.
        adjusted: p-values after Holm's correction for all pairs; ``None`` without a test.
        reason: Why there is no test.
        left_out: Why a ranked variant is in no test, by its key; the others are tested without it.
    """

    keys: tuple[str, ...]
    beats: tuple[tuple[bool, ...], ...] = ()
    adjusted: tuple[tuple[float | None, ...], ...] = ()
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of the methods here, on one test set, with those of a publication's table.

    Attributes:
        source: Protocol that the table reports.
        metric: Metric of both.
        rho: Spearman's coefficient.
        n: Methods that both have.
    """

    source: str
    test: str
    metric: str
    rho: float
    n: int


@dataclass(frozen=True)
class Size:
    """Image metrics of one bin of lesion areas, averaged over seeds.

    Attributes:
        low: Smallest area in pixels.
        high: First area above the bin; ``None`` for the last.
        n: Abnormal slices in the bin.
    """

    low: int
    high: int | None
    n: int
    metrics: Mapping[str, float | None]

    @property
    def label(self) -> str:
        """The bin as text, e.g. ``"100 to 399"``."""
        return f"from {self.low}" if self.high is None else f"{self.low} to {self.high - 1}"


@dataclass(frozen=True)
class ScanLine:
    """The whole scans of a line, averaged over seeds.

    Attributes:
        rule: When a lesion is found.
        bins: Lesions, those found, and false alarms by volume (fields of `anyadbench.results.schema.VolumeBin`).
    """

    rule: str
    n_subjects: int
    n_scans: int
    n_lesions: int
    metrics: Mapping[str, Estimate]
    bins: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class BoxLine:
    """The boxes of a line, averaged over seeds; by name in ``metrics``: `anyadbench.results.schema.Boxes`."""

    n_subjects: int
    n_images: int
    n_boxes: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class Variant:
    """A method as it was run: cells that differ only in the seed (or, for ``retrain``, in the subset).

    Attributes:
        key: Short stable hash of everything that defines the variant.
        label: Name on this board; variants that share a title also show how they differ.
        dtype: Precision by its name in ``--precision``.
        cells: Its finished cells, by seed.
        flags: Warnings that apply to every number of the variant.
    """

    key: str
    label: str
    kind: str
    method: MethodInfo
    weights: WeightsInfo
    dtype: str
    cells: tuple[CellRecord, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Source of reported numbers, or the program that made external maps."""
        return next((cell.result.source for cell in self.cells if cell.result is not None), "")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Distinct run seeds of the finished cells; none for reported rows."""
        if self.kind == "reported":
            return ()
        return tuple(sorted({cell.result.seed for cell in self.cells if cell.result is not None}))


@dataclass(frozen=True)
class Line:
    """One variant on one subset of one test set.

    Attributes:
        variant: Key of the variant.
        covered: Whether there is any number.
        reason: Why there is no number, for a line without numbers.
        flags: Warnings that apply to this line alone.
        sources: The cell of each seed, and the index of the row in its result.
        against: Comparison with the best control by metric; empty for controls and without any.
        scans: Whole scans, where the protocol asks for them.
        alarms: Alarms of healthy subjects of each seed and promise.
        sites: Metrics by site.
        boxes: Numbers of boxes, where lesions are marked by boxes.
    """

    variant: str
    test: str
    subset: str
    sequences: tuple[str, ...] = ()
    feed: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    n_subjects: int = 0
    n_scans: int = 0
    n_slices: int = 0
    n_normal: int = 0
    n_abnormal: int = 0
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    sizes: tuple[Size, ...] = ()
    threshold: Threshold | None = None
    flags: tuple[str, ...] = ()
    covered: bool = False
    reason: str = ""
    cell_ids: tuple[str, ...] = ()
    fit_ids: tuple[str, ...] = ()
    sources: tuple[tuple[CellRecord, int], ...] = field(default=(), repr=False, compare=False)
    against: Mapping[str, Against] = field(default_factory=dict)
    scans: ScanLine | None = None
    alarms: tuple[tuple[int, Alarms], ...] = ()
    sites: tuple[Site, ...] = ()
    boxes: BoxLine | None = None

    def value(self, metric: str) -> float | None:
        """Return the mean over seeds, or ``None``."""
        estimate = self.metrics.get(metric)
        return None if estimate is None else estimate.value


@dataclass(frozen=True)
class Summary:
    """The any-modality summary of one variant on one test set for one metric.

    Attributes:
        mean: Mean over all required subsets; ``None`` if one is missing, because nothing is imputed.
        worst: Smallest value over the required subsets, on the same condition. It has no interval: the smallest of
            several numbers is too small by chance, most of all where all are equal.
        full: Value with all sequences of the protocol.
        drops: For each subset, the value with all sequences minus the subset's, both on the subjects that have all.
        covered: Number of required subsets with a value.
        required: Number of subsets that the test set can serve.
        rank: Rank among complete variants of the same kind (ties share the better rank), or ``None``.
        reason: Why there is no rank.
        subsets: The required subsets.
        group: Tie group, from 1: no test separates a variant from the first of its group.
        ranks: Best and worst rank that the tests leave open.
        needed: About how many subjects would separate the variant from the first in rank, compared alone, if the
            difference is what was seen; ``None`` if no number would, or there is no test.
        mean_interval: 95 % interval of the mean over subjects, and over seeds if there are several.
        no_interval: Why the mean has no interval.
        hardest: Value and interval on the subset on which the brightness control is lowest, the same for all methods.
        drop_intervals: 95 % interval of each drop.
        against: Comparison of the mean with that of the best control.
    """

    variant: str
    test: str
    metric: str
    mean: float | None
    worst: float | None
    worst_subset: str
    full: float | None
    drops: Mapping[str, float]
    covered: int
    required: int
    rank: int | None = None
    reason: str = ""
    subsets: tuple[str, ...] = ()
    group: int | None = None
    ranks: tuple[int, int] | None = None
    needed: int | None = None
    mean_interval: Ends = (None, None)
    no_interval: str = ""
    hardest: Estimate | None = None
    drop_intervals: Mapping[str, Ends] = field(default_factory=dict)
    against: Against | None = None


@dataclass(frozen=True)
class ShotPoint:
    """A variant's mean over subsets after training on some number of subjects.

    Attributes:
        shots: How many; 0 for all.
        protocol: Name of the protocol that trains on so many.
        low: Low end of the mean's 95 % interval; ``None`` without one.
        high: High end.
        seeds: Run seeds, each of which chooses subjects.
    """

    shots: int
    protocol: str
    mean: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class ShotCurve:
    """One metric of one variant by the number of subjects that it is trained on, fewest first."""

    variant: str
    label: str
    kind: str
    test: str
    metric: str
    points: tuple[ShotPoint, ...]


def headline_metric(metrics: Sequence[str]) -> str:
    """Return pixel AP, which is hardest because lesions cover few pixels, or else the first metric."""
    return "pixel_ap" if "pixel_ap" in metrics or not metrics else metrics[0]


@dataclass(frozen=True)
class Board:
    """Everything about one protocol.

    Attributes:
        slug: Name of the board's folder.
        subsets: The protocol's subsets, followed by "as available" if a result has that row.
        full: Label of the subset with all sequences.
        metrics: Names of the metrics that occur, built-in ones first.
        pairs: Which method beats which, by kind, test set and metric.
        hardest: Subset on which the brightness control is lowest, by test set and metric.
        agreements: Rank correlations with tables of publications.
        failures: Cells of this protocol without a result.
        unreadable: Cells whose files are damaged.
        notices: Sentences on what was left out and why.
        shots: Curves over protocols that differ only in the number of training subjects; empty without any.
    """

    slug: str
    protocol: ProtocolInfo
    metric_version: str
    tests: tuple[str, ...]
    subsets: tuple[str, ...]
    full: str
    metrics: tuple[str, ...]
    variants: tuple[Variant, ...]
    lines: tuple[Line, ...]
    summaries: tuple[Summary, ...]
    pairs: Mapping[tuple[str, str, str], PairTable] = field(default_factory=dict)
    hardest: Mapping[tuple[str, str], str] = field(default_factory=dict)
    agreements: tuple[Agreement, ...] = ()
    failures: tuple[CellRecord, ...] = ()
    unreadable: tuple[CellRecord, ...] = ()
    notices: tuple[str, ...] = ()
    shots: tuple[ShotCurve, ...] = ()

    def line(self, variant: str, test: str, subset: str) -> Line | None:
        """Return one line, or ``None``."""
        return self._index.get((variant, test, subset))

    def summary(self, variant: str, test: str, metric: str) -> Summary | None:
        """Return one summary, or ``None``."""
        return self._summary_index.get((variant, test, metric))

    def variant(self, key: str) -> Variant:
        """Return a variant by key."""
        return next(variant for variant in self.variants if variant.key == key)

    @property
    def controls(self) -> tuple[Variant, ...]:
        """The controls."""
        return tuple(variant for variant in self.variants if variant.kind == "control")

    @property
    def headline(self) -> str:
        """The metric that orders tables unless the reader picks another."""
        return headline_metric(self.metrics)

    def __post_init__(self) -> None:
        """Index lines and summaries, since every format looks them up one by one."""
        index = {(line.variant, line.test, line.subset): line for line in self.lines}
        object.__setattr__(self, "_index", index)
        by_metric = {(item.variant, item.test, item.metric): item for item in self.summaries}
        object.__setattr__(self, "_summary_index", by_metric)

    _index: dict[tuple[str, str, str], Line] = field(init=False, repr=False, compare=False)
    _summary_index: dict[tuple[str, str, str], Summary] = field(init=False, repr=False, compare=False)
