"""The rules by which slices become normal or abnormal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SliceRules:
    """Which slices count as normal and abnormal; ``*_px`` are pixels at native size.

    Attributes:
        min_brain: Smallest brain area as a fraction of the field of view.
        min_lesion_px: Smallest lesion of an abnormal slice.
        normal_margin: Slices between a normal slice and the nearest labelled one.
        cavity: Whether a resection cavity is abnormal.
        match_height: Whether test normals are matched in height to test abnormals.
        height_caliper_mm: Largest difference in height of a match.
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
    """How subjects are split: by hash of ``salt`` and the subject, in the given fractions.

    Attributes:
        train: Fraction of subjects to train on.
        validation: Fraction whose lesion-free slices give thresholds and, where asked, selection.
        test: Fraction to test on; at least one subject.
        salt: Text that is hashed with the subject.
        cover_subsets: Whether a subject joins the test set when otherwise no test scan could serve some subset.
    """

    train: float = 0.7
    validation: float = 0.1
    test: float = 0.2
    salt: str = "anyadbench"
    cover_subsets: bool = True


@dataclass(frozen=True)
class IntensityRules:
    """How stored values become what a method sees.

    Attributes:
        mode: ``volume``: each sequence of a scan divided by its own ``percentile`` of foreground, clipped to [0, 1].
            ``slice-minmax8``: each sequence of a slice min-max scaled to [0, 1] in 8 bits, as the AnyAD release does.
        percentile: Percentile of foreground voxels for ``volume``: 99, 99.5, 99.8 or 99.9.
    """

    mode: str = "volume"
    percentile: float = 99.8


@dataclass(frozen=True)
class GeometryRules:
    """What becomes of the field of view before a method sees it; (0, 0) leaves it alone.

    Attributes:
        resize: Height and width that every slice is resized to, bilinearly.
        crop: Height and width of the centre that is cut out of it; what lies outside is neither seen nor scored.
    """

    resize: tuple[int, int] = (0, 0)
    crop: tuple[int, int] = (0, 0)
