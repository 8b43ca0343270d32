"""How well two sequences fit: figures with levels that come from known pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from anyadbench.predict.prepare.views import View

BINS = 32
"""Bins of each axis of the joint histogram."""

LOW_NMI, LOW_OVERLAP = 1.02, 0.92
"""Warning levels: known good pairs lie above, pairs moved by 15 mm below (``docs/predict.md``)."""

NO_NMI, NO_OVERLAP, HALF = 1.005, 0.7, 0.5
"""Below the first two, or with less than half of the brains in common, two registered scans do not show one head."""

ONE_IMAGE = 1.4
"""Normalised mutual information above which two sequences are one image; two sequences of one head stay below 1.25."""


@dataclass(frozen=True)
class Fit:
    """How well a scan fits the reference.

    Attributes:
        nmi: Normalised mutual information in the voxels that both take for brain.
        overlap: Dice of the two brains.
        mirrored: Normalised mutual information after left and right of the scan were exchanged; 0 if not measured.
    """

    nmi: float
    overlap: float
    mirrored: float = 0.0

    @property
    def poor(self) -> bool:
        """Whether the figures are below a warning level."""
        return self.nmi < LOW_NMI or self.overlap < LOW_OVERLAP

    @property
    def apart(self) -> bool:
        """Whether the two cannot be one head in one place."""
        return self.overlap < HALF or (self.nmi < NO_NMI and self.overlap < NO_OVERLAP)

    @property
    def figures(self) -> dict[str, float]:
        """The figures by name."""
        found = {"normalised_mutual_information": round(self.nmi, 4), "brain_overlap": round(self.overlap, 4)}
        return found | ({"mirrored": round(self.mirrored, 4)} if self.mirrored else {})

    def warning(self, sequence: str, reference: str, registered: bool) -> str:
        """Return what to distrust, as a sentence; empty if the figures are those of good pairs."""
        first, second = SHORT[sequence], SHORT[reference]
        if self.nmi > ONE_IMAGE:
            return (
                f"{first} and {second} are one image (normalised mutual information {self.nmi:.2f}); one of the two "
                "was given under a wrong name."
            )
        if self.mirrored > self.nmi:
            return (
                f"A left-right flip of {first} or {second} is suspected: mirrored, {first} fits better (normalised "
                f"mutual information {self.mirrored:.3f}, as given {self.nmi:.3f}); check the headers of both."
            )
        if not self.poor:
            return ""
        fix = "look at both before you trust the map" if registered else "register them with --prepare auto"
        return (
            f"{first} does not fit {second} well (normalised mutual information {self.nmi:.3f}, good from {LOW_NMI}; "
            f"brain overlap {self.overlap:.2f}, good from {LOW_OVERLAP}); {fix}."
        )


def fit_of(reference: View, other: View) -> Fit:
    """Return how well a scan fits the reference, without mirroring it."""
    there = other.on(reference.grid)
    both = reference.brain & there.brain
    total = int(reference.brain.sum()) + int(there.brain.sum())
    nmi = normalised_mutual_information(reference.values, there.values, both) if both.sum() > BINS * BINS else 1.0
    return Fit(nmi, 2 * int(both.sum()) / max(total, 1))


def normalised_mutual_information(
    first: Float32[np.ndarray, "x y z"], second: Float32[np.ndarray, "x y z"], inside: Bool[np.ndarray, "x y z"]
) -> float:
    """Return ``(H(A) + H(B)) / H(A, B)``: 1 for unrelated images, 2 for one image given twice.

    Source: Studholme et al., Pattern Recognition 32, 1999, equation 8. Bins hold equal numbers of voxels, so that the
    figure does not depend on the scale of either image.
    """
    pair = [_ranked(values[inside]) for values in (first, second)]
    joint = np.bincount(pair[0] * BINS + pair[1], minlength=BINS * BINS).astype(np.float64).reshape(BINS, BINS)
    both = _entropy(joint.ravel())
    return (_entropy(joint.sum(axis=0)) + _entropy(joint.sum(axis=1))) / both if both > 0 else 2.0


def _ranked(values: Float32[np.ndarray, " n"]) -> np.ndarray:
    if not len(values):
        return np.zeros(0, np.int64)
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(shares * np.log(shares)).sum())
