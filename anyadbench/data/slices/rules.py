"""The rules that make slices normal or abnormal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SliceRules:
    """Which slices count as normal and abnormal; ``*_px`` are pixels at native size.

    Attributes:
        min_brain: Smallest brain area as a fraction of the field of view.
        min_lesion_px: Smallest lesion area of an abnormal slice.
        normal_margin: Smallest distance, in slices, of a normal slice from a labelled one.
        cavity: Whether a resection cavity is abnormal.
        match_height: Whether test normals are matched in height to test abnormals.
        height_caliper_mm: Largest difference in height within a match.
        max_train: Largest number of training normals, evenly spread (0 for all).
        max_test: Largest number of abnormal test slices per subject, evenly spread (0 for all).
    """

    min_brain: float = 0.10
    min_lesion_px: int = 20
    normal_margin: int = 5
    cavity: bool = True
    match_height: bool = True
    height_caliper_mm: float = 10.0
    max_train: int = 0
    max_test: int = 0


@dataclass(frozen=True)
class SplitRules:
    """How subjects are split: by a hash of ``salt`` and the subject, in the given fractions.

    Attributes:
        train: Fraction of subjects to train on.
        validation: Fraction whose lesion-free slices set thresholds and, where asked, select a checkpoint.
        test: Fraction to test on; at least one subject.
        salt: Text hashed with the subject.
        cover_subsets: Whether a subject joins the test set if no test scan could otherwise serve some subset.
    """

    train: float = 0.7
    validation: float = 0.1
    test: float = 0.2
    salt: str = "anyadbench"
    cover_subsets: bool = True


NormalSource = Literal["lesion-free", "healthy"]
LESION_FREE: NormalSource = "lesion-free"
HEALTHY: NormalSource = "healthy"
NORMALS = (LESION_FREE, HEALTHY)
"""Sources of training normals: lesion-free slices of patients, or healthy subjects."""


@dataclass(frozen=True)
class HealthySplitRules:
    """How healthy subjects are split, apart from the patients, so that adding them moves no patient.

    More of them validate than of the patients: thresholds and false alarms are about healthy people, and one slice in
    a hundred of few subjects bounds nothing.

    Attributes:
        train: Fraction of healthy subjects to train on, where a protocol trains on them.
        validation: Fraction whose slices set thresholds, and calibrate the rate of false alarms.
        test: Fraction on whom false alarms are counted.
    """

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2


PERCENTILE, ZSCORE, HISTOGRAM = "percentile", "zscore", "histogram"
HARMONISE = (PERCENTILE, ZSCORE, HISTOGRAM)
"""Rules that bring scans of different scanners to one scale."""


@dataclass(frozen=True)
class IntensityRules:
    """How stored values are scaled for a method.

    Attributes:
        mode: ``volume``: each sequence of a scan is scaled to [0, 1] as ``harmonise`` says. ``slice-minmax8``: each
            sequence of a slice is min-max scaled to [0, 1] in 8 bits, as in the AnyAD release.
        percentile: Percentile of foreground voxels for ``percentile``: 99, 99.5, 99.8 or 99.9.
        harmonise: For ``volume``, from each sequence of a scan alone: ``percentile`` divides by its own percentile of
            foreground and clips; ``zscore`` maps 3 standard deviations of the brain below its mean to 0 and 5 above to
            1; ``histogram`` moves its deciles to those of the training normals.
    """

    mode: str = "volume"
    percentile: float = 99.8
    harmonise: str = PERCENTILE

    def identity(self) -> dict[str, str | float]:
        """Return the rules for hashing; the default of ``harmonise`` is left out, so that older fits keep theirs."""
        rules: dict[str, str | float] = {"mode": self.mode, "percentile": self.percentile}
        return rules if self.harmonise == PERCENTILE else {**rules, "harmonise": self.harmonise}


@dataclass(frozen=True)
class GeometryRules:
    """How slices are resized and cropped before a method sees them; (0, 0) leaves the size alone.

    Attributes:
        resize: Height and width to which every slice is resized, bilinearly.
        crop: Height and width of the centre crop that follows; pixels outside it are neither seen nor scored.
    """

    resize: tuple[int, int] = (0, 0)
    crop: tuple[int, int] = (0, 0)
