"""The protocol model.

A protocol is a TOML file. Its hash is taken over the parsed values, not over the text, so comments and layout do not
change it; every rule that can change a number is written in the file or has the default given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.data.slices.rules import (
    LESION_FREE,
    GeometryRules,
    HealthySplitRules,
    IntensityRules,
    NormalSource,
    SliceRules,
    SplitRules,
)
from anyadbench.hashing import stable_hash
from anyadbench.sequences import AS_AVAILABLE, Subset, format_subset

if TYPE_CHECKING:
    from anyadbench.metrics.lesions.rules import Rule


@dataclass(frozen=True)
class TestSet:
    """One test set.

    Attributes:
        name: Name on the board.
        dataset: Name of the data set.
        split: ``test`` for the subjects that the split rules keep for testing, ``all`` for every subject.
        feed: Sequence that fills each slot; empty if every slot holds its own sequence.
        subsets: Subsets evaluated on this test set instead of the protocol's; it then has no row "as available".
    """

    __test__ = False

    name: str
    dataset: str
    split: str = "test"
    feed: Mapping[str, str] = field(default_factory=dict)
    subsets: tuple[Subset, ...] = ()


LESION_RULES: Mapping[str, tuple[str, ...]] = {
    "overlap": ("lesion_overlap",),
    "brats": ("lesion_dilation", "lesion_dropped_mm3"),
}
"""Rules for finding lesions, and the numbers that each of them has."""

_WHOLE_SCANS = ("volumes", "lesion_rule", "smallest_cluster_ml", *sum(LESION_RULES.values(), ()))


@dataclass(frozen=True)
class ScoringRules:
    """What is done to a method's maps on the scoring grid; the defaults do nothing.

    Attributes:
        smoothing_size: Side in pixels of a Gaussian filter with zeros beyond the border; 0 for none. A method's own
            filter (its parameter ``smoothing_size`` or ``smoothing_sigma``) is then switched off, so that no map is
            filtered twice.
        smoothing_sigma: Standard deviation of that filter in pixels.
        top_fraction: Fraction of a map's pixels, the highest, whose mean is the image score, whatever score the method
            returns; 0 leaves the choice to the method.
        masks: How lesion masks are resampled to the scoring grid: ``nearest-exact`` (pixel centres) or ``nearest``
            (pixel corners).
        normalise_height: Whether slice scores are also given normalised by height and brain area, fitted on training
            normals (`anyadbench.metrics.rows.height`).
        rank_height: Whether boards rank image metrics by the normalised scores.
        volumes: Whether every brain slice of the test scans is scored, for the metrics of whole scans.
        lesion_rule: When a lesion is found: ``overlap`` (`anyadbench.metrics.lesions.OverlapRule`) or ``brats``
            (`anyadbench.metrics.lesions.DilationRule`).
        lesion_overlap: Smallest intersection over union of a pair, by the rule ``overlap``.
        lesion_dilation: Dilations of a lesion in voxels, by the rule ``brats``.
        lesion_dropped_mm3: Largest volume of a lesion that is left out, by the rule ``brats``.
        smallest_cluster_ml: Volume below which a cluster is left out.
    """

    smoothing_size: int = 0
    smoothing_sigma: float = 4.0
    top_fraction: float = 0.0
    masks: str = "nearest-exact"
    normalise_height: bool = False
    rank_height: bool = False
    volumes: bool = False
    lesion_rule: str = "overlap"
    lesion_overlap: float = 0.1
    lesion_dilation: int = 3
    lesion_dropped_mm3: float = 50.0
    smallest_cluster_ml: float = 0.003

    def rule(self) -> Rule:
        """Return the rule by which lesions are found."""
        from anyadbench.metrics.lesions import DilationRule, OverlapRule

        if self.lesion_rule == "brats":
            return DilationRule(self.lesion_dilation, self.lesion_dropped_mm3, self.smallest_cluster_ml)
        return OverlapRule(overlap=self.lesion_overlap, smallest_ml=self.smallest_cluster_ml)

    def hashed(self) -> dict[str, Any]:
        """Return what scores depend on; rules that were added later only where they are set.

        The rules of whole scans count where these are scored, and of the numbers those of the rule for lesions.
        """
        part = asdict(self)
        used = {"volumes", "lesion_rule", "smallest_cluster_ml", *LESION_RULES[self.lesion_rule]}
        for name in _WHOLE_SCANS:
            if not self.volumes or name not in used:
                del part[name]
        return {name: value for name, value in part.items() if value or name not in ("normalise_height", "rank_height")}


@dataclass(frozen=True)
class Protocol:
    """A whole protocol, validated.

    Attributes:
        name: Name used on the command line.
        version: Raised whenever a rule changes.
        title: One line.
        sequences: Sequences that a method may see, canonical order.
        subsets: Evaluated subsets.
        as_available: Whether the row "as available" is evaluated.
        train: Data set to train on.
        normals: What of it is trained and validated on: ``lesion-free`` slices of patients, or ``healthy`` subjects.
        shots: How many normal subjects are trained on, chosen by the seed of the run; 0 for all.
        healthy_split: How its healthy subjects, and those of the test sets, are split.
        tests: Test sets.
        scoring_grid: Height and width of the scoring grid; (0, 0) for the slices' own.
        selection: Which state of a training is tested: ``last``; ``validation``, the one that is best on validation
            normals; ``test-image-ap``, the one with the best image AP on the first test set (an oracle).
        candidates: How many states are compared, evenly spaced and including the last; 0 for one per epoch.
        geometry: Resizing and cropping before a method sees a slice.
        scoring: What is done to maps on the scoring grid.
        weights: Weights profile.
        budget: Default budget.
        threads: CPU threads per cell.
        oracle: Whether a choice uses test data.
        notes: What is known about the paper's choices, and which are this project's own.
        file: The file that it was read from; not part of its hash.
    """

    name: str
    version: int
    title: str
    sequences: Subset
    subsets: tuple[Subset, ...]
    train: str
    tests: tuple[TestSet, ...]
    as_available: bool = True
    slices: SliceRules = field(default_factory=SliceRules)
    split: SplitRules = field(default_factory=SplitRules)
    healthy_split: HealthySplitRules = field(default_factory=HealthySplitRules)
    normals: NormalSource = LESION_FREE
    shots: int = 0
    intensity: IntensityRules = field(default_factory=IntensityRules)
    geometry: GeometryRules = field(default_factory=GeometryRules)
    scoring_grid: tuple[int, int] = (0, 0)
    scoring: ScoringRules = field(default_factory=ScoringRules)
    selection: str = "last"
    candidates: int = 0
    weights: str = "published"
    budget: str = "paper"
    threads: int = 2
    oracle: bool = False
    notes: str = ""
    file: Path = Path()

    @property
    def hash(self) -> str:
        """Return the sha256 of everything in the protocol except its notes and title."""
        # What both parts hold, the test part holds in full.
        return stable_hash({**self.training_part(), **self.test_part(), "name": self.name, "version": self.version})

    def training_part(self) -> dict[str, Any]:
        """Return what a fit depends on; protocols that agree here share their fits."""
        part: dict[str, Any] = {
            "sequences": list(self.sequences),
            "train": self.train,
            "slices": asdict(self.slices),
            "split": asdict(self.split),
            "intensity": self.intensity.identity(),
            "selection": self.selection,
        }
        # Rules at their defaults are left out, so that a new rule does not change the identity of older fits.
        if self.normals != LESION_FREE:
            # Rules about patients and lesions then concern the test sets alone, so that these may differ in one fit.
            slices = {name: getattr(self.slices, name) for name in ("min_brain", "max_train")}
            own = {"normals": self.normals, "healthy_split": asdict(self.healthy_split)}
            part |= {"slices": slices, "split": {"salt": self.split.salt}, **own}
        if self.shots:
            part["shots"] = self.shots
        if self.geometry != GeometryRules():
            part["geometry"] = asdict(self.geometry)
        if self.selection != "last":
            part["candidates"] = self.candidates
        if self.selects_on_test:
            part["selected_on"] = self.test_part()
        return part

    def test_part(self) -> dict[str, Any]:
        """Return the rules that only the scores depend on."""
        part: dict[str, Any] = {
            "subsets": [format_subset(subset) for subset in self.subsets],
            "as_available": self.as_available,
            "tests": [_test_part(test) for test in self.tests],
            "scoring_grid": list(self.scoring_grid),
            "oracle": self.oracle,
        }
        if self.scoring.hashed() != ScoringRules().hashed():
            part["scoring"] = self.scoring.hashed()
        if self.normals != LESION_FREE:
            part |= {"slices": asdict(self.slices), "split": asdict(self.split)}
        if self.healthy_split != HealthySplitRules():
            part["healthy_split"] = asdict(self.healthy_split)
        return part

    @property
    def family(self) -> str:
        """Return the sha256 of everything except name, version and the number of training subjects."""
        return stable_hash({**replace(self, shots=0).training_part(), **self.test_part()})

    @property
    def selects_on_test(self) -> bool:
        """Whether a fit depends on test data."""
        return self.selection == "test-image-ap"

    @property
    def uses_healthy(self) -> bool:
        """Whether healthy subjects are trained on, or their alarms are counted; elsewhere no slice of them is read."""
        return self.normals != LESION_FREE or self.scoring.volumes

    @property
    def trains_on(self) -> str:
        """What is trained on, for sentences: ``lesion-free slices`` or ``slices of healthy subjects``."""
        return "lesion-free slices" if self.normals == LESION_FREE else "slices of healthy subjects"

    def rows(self, test: TestSet) -> tuple[str, ...]:
        """Return the labels of a test set's rows in the order of a board."""
        labels = tuple(format_subset(subset) for subset in test.subsets or self.subsets)
        return labels + ((AS_AVAILABLE,) if self.as_available and not test.subsets else ())

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every data set that the protocol reads, training first."""
        return tuple(dict.fromkeys([self.train, *(test.dataset for test in self.tests)]))


def _test_part(test: TestSet) -> dict[str, Any]:
    part = {name: getattr(test, name) for name in ("name", "dataset", "split")}
    part["feed"] = dict(test.feed)
    return part | ({"subsets": [format_subset(subset) for subset in test.subsets]} if test.subsets else {})
