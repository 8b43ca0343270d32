"""The ranking of a row's pixels inside the brain, and the arrays in which it is stored beside that of the field.

The lesion pixels of both are nearly always the same. Then only the normal pixels outside the brain are stored, of which
few lie between the highest scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.cohort import Cohort, lesion_tables
from anyadbench.metrics.core.curves import INSIDE
from anyadbench.metrics.core.ranking import Steps
from anyadbench.metrics.rows.grouped import GroupedSteps

if TYPE_CHECKING:
    from jaxtyping import Int64

_OUTSIDE = ("gaps", "tied", "subject_gaps", "subject_tied")


@dataclass(frozen=True)
class Ranked:
    """A ranking of pixels and its counts by subject.

    Attributes:
        steps: The pooled ranking.
        owners: Subject of each lesion pixel in the order of the steps; empty for streaming states and for groups.
        cohort: Counts by subject.
    """

    steps: Steps
    owners: Int64[np.ndarray, " p"]
    cohort: Cohort

    def check(self, subjects: int) -> None:
        """Check that the parts are possible and consistent.

        Args:
            subjects: Number of subjects that the cohort must have.

        Raises:
            UserError: If they are not.
        """
        self.steps.check()
        if isinstance(self.steps, GroupedSteps) and self.steps.exact:
            self.steps.check_cohort(self.cohort)
        else:
            self.cohort.check(self.steps if self.steps.exact else None)
        kept = self.cohort.left_out
        if kept is not None and kept.shape != (subjects, len(self.steps.region.names)):
            raise UserError("The values without each subject do not fit the metrics of the row; run the cell again.")
        same = self.cohort.gaps.sum() + self.cohort.tied.sum() == self.steps.normal_pixels
        if len(self.cohort) != subjects or not same or self.cohort.lesions.sum() != self.steps.lesion_pixels:
            raise UserError("The counts of the subjects' pixels do not add up to those of the row; run it again.")

    def check_within(self, field: Ranked) -> None:
        """Check that no subject has more pixels here than in the whole field.

        Raises:
            UserError: If one has.
        """
        for ours, theirs in zip(_totals(self.cohort), _totals(field.cohort), strict=True):
            if (ours > theirs).any():
                raise UserError("A subject has more pixels inside the brain than in the field; run the cell again.")


def _totals(cohort: Cohort) -> tuple[Int64[np.ndarray, " s"], Int64[np.ndarray, " s"]]:
    return cohort.gaps.sum(axis=1) + cohort.tied.sum(axis=1), cohort.lesions.sum(axis=1)


def brain_parts(field: Ranked, brain: Ranked) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the entry of the index and the arrays in which the brain's ranking is stored."""
    ours, theirs = _arrays(brain), _arrays(field)
    shared = brain.steps.components == field.steps.components and all(
        np.array_equal(ours[name], theirs[name]) for name in ours if name not in _OUTSIDE
    )
    entry = {"shared": shared, "components": brain.steps.components}
    if shared:
        return entry, {f"outside_{name}": theirs[name] - ours[name] for name in _OUTSIDE}
    if brain.steps.exact:
        pairs, codes = np.unique(np.stack([brain.owners, brain.steps.areas]), axis=1, return_inverse=True)
        kept = {name: ours[name] for name in ("lesions", *_OUTSIDE)} | {"pairs": pairs, "codes": codes.ravel()}
    else:
        kept = {name: ours[name] for name in ours if name not in ("owners", "areas")}
    return entry, {f"brain_{name}": values for name, values in kept.items()}


def _arrays(ranked: Ranked) -> dict[str, np.ndarray]:
    steps, cohort = ranked.steps, ranked.cohort
    return {
        "gaps": steps.gaps, "tied": steps.tied, "subject_gaps": cohort.gaps, "subject_tied": cohort.tied,
        "lesions": steps.lesions, "areas": steps.areas, "owners": ranked.owners, "weights": steps.weights,
        "subject_lesions": cohort.lesions, "subject_weights": cohort.weights,
    }  # fmt: skip


def read_brain(entry: Mapping[str, Any], part: Callable[[str], np.ndarray], field: Ranked) -> Ranked:
    """Return the brain's ranking from the arrays of `brain_parts`, not checked.

    Args:
        entry: That of the index.
        part: Returns an array by name as int64.
        field: The ranking of the field.

    Raises:
        KeyError: If an array is missing.
        ValueError: If shapes do not fit.
    """
    components = int(entry["components"])
    if entry["shared"]:
        steps, cohort = field.steps, field.cohort
        inner = Steps(
            steps.gaps - part("outside_gaps"), steps.tied - part("outside_tied"), steps.lesions, steps.areas,
            steps.weights, components, region=INSIDE,
        )  # fmt: skip
        gaps, tied = cohort.gaps - part("outside_subject_gaps"), cohort.tied - part("outside_subject_tied")
        return Ranked(inner, field.owners, Cohort(gaps, tied, cohort.lesions, cohort.weights))
    empty = np.empty(0, dtype=np.int64)
    owners, areas = part("brain_pairs")[:, part("brain_codes")] if field.steps.exact else (empty, empty)
    weights = empty if field.steps.exact else part("brain_weights")
    gaps, tied, lesions = part("brain_gaps"), part("brain_tied"), part("brain_lesions")
    inner = Steps(gaps, tied, lesions, areas, weights, components, region=INSIDE)
    inner.check()
    if field.steps.exact:
        if len(owners) and owners.max() >= len(field.cohort):
            raise ValueError("owners")
        tables = lesion_tables(inner, owners, len(field.cohort))
    else:
        tables = part("brain_subject_lesions"), part("brain_subject_weights")
    return Ranked(inner, owners, Cohort(part("brain_subject_gaps"), part("brain_subject_tied"), *tables))
