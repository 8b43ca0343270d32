"""The pixel statistics of a result's row: built from scored subjects, stored as arrays, read back.

All pixel numbers of a result follow from these integers and the slice table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.cohort import Cohort, binned_cohort, exact_cohort, lesion_owners, lesion_tables
from anyadbench.metrics.core.curves import INSIDE
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.ordered_bits import threshold_key
from anyadbench.metrics.core.ranking import Steps
from anyadbench.metrics.core.streaming import PixelState
from anyadbench.metrics.core.thresholds import Quantile
from anyadbench.metrics.rows.brain_pixels import Ranked, brain_parts, read_brain
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.metrics.rows.grouped_storage import GROUPED_FORMAT, grouped_arrays, read_grouped
from anyadbench.metrics.rows.split_bins import SplitBins
from anyadbench.metrics.rows.split_counts import SplitCounts
from anyadbench.results.arrays import parsed

if TYPE_CHECKING:
    from jaxtyping import Int64

FORMAT = 2
_DAMAGED = "Pixel statistics are damaged or incomplete; run the cell again."


@dataclass(frozen=True)
class Decision:
    """Pixels inside the brain above the threshold from validation normals; of the field in older results.

    Attributes:
        quantile: Source of the threshold.
        tp: Lesion pixels above it.
        fp: Normal pixels above it.
    """

    quantile: Quantile
    tp: int
    fp: int


@dataclass(frozen=True)
class RowPixels:
    """Pixel statistics of one subset on one test set.

    Attributes:
        subjects: Names of the subjects, in the order of the cohort.
        steps: The pooled ranking.
        owners: Subject of each lesion pixel in the order of the steps; empty for streaming states.
        cohort: Counts by subject.
        decision: Counts at the threshold; ``None`` without a threshold.
        brain: The pixels inside the brain; ``None`` in results of metric version 2 and before.
    """

    test: str
    subset: str
    subjects: tuple[str, ...]
    steps: Steps
    owners: Int64[np.ndarray, " p"]
    cohort: Cohort
    decision: Decision | None
    brain: Ranked | None = None

    @property
    def field(self) -> Ranked:
        """The pixels of the whole field."""
        return Ranked(self.steps, self.owners, self.cohort)

    @property
    def decided(self) -> Steps:
        """The ranking that the decisions are about: the brain's, or that of the field in older results."""
        return self.steps if self.brain is None else self.brain.steps

    def check(self) -> None:
        """Check that the parts are possible and consistent.

        Raises:
            UserError: If they are not.
        """
        self.field.check(len(self.subjects))
        if self.brain is not None:
            self.brain.check(len(self.subjects))
            self.brain.check_within(self.field)
        if self.decision is not None:
            self._check_decision(self.decision)

    def _check_decision(self, decision: Decision) -> None:
        decision.quantile.check()
        curve = self.decided.curve()
        # The flagged lesions end at a step; the flagged normals lie from there to the next step.
        place = int(np.searchsorted(curve.found, decision.tp))
        ends_at_step = decision.tp == 0 or (place < len(curve.found) and int(curve.found[place]) == decision.tp)
        least = 0 if decision.tp == 0 else int(curve.reached[min(place, len(curve.reached) - 1)])
        after = 0 if decision.tp == 0 else place + 1
        most = int(curve.above[after]) if after < len(curve.above) else self.decided.normal_pixels
        if not (ends_at_step and least <= decision.fp <= most):
            raise UserError("The counts at the threshold contradict the ranking of the pixels; run the cell again.")


def exact_pixels(test: str, subset: str, states: Mapping[str, SplitCounts], quantile: Quantile | None) -> RowPixels:
    """Combine the states of all subjects; they are not copied, so their sum exists only within this call."""
    names = tuple(sorted(states))
    pooled = SplitCounts()
    for name in names:
        pooled.merge(states[name])
    for part in (pooled.inside, pooled.outside):
        part.join()  # once for both rankings
    field = _exact(pooled.field(), [states[name].field() for name in names])
    brain = _exact(pooled.inside, [states[name].inside for name in names])
    brain = replace(brain, steps=replace(brain.steps, region=INSIDE))
    decision = _decide(pooled.inside, quantile)
    return RowPixels(test, subset, names, field.steps, field.owners, field.cohort, decision, brain)


def _exact(pooled: PixelStats, parts: Sequence[PixelStats]) -> Ranked:
    steps, owners = pooled.steps(), lesion_owners(parts)
    return Ranked(steps, owners, exact_cohort(parts, steps, owners))


def streaming_pixels(
    test: str,
    subset: str,
    pooled: SplitBins,
    states: Mapping[str, SplitBins],
    quantile: Quantile | None,
) -> RowPixels:
    """Combine the pooled state and the coarser states of all subjects."""
    names = tuple(sorted(states))
    nobody = np.empty(0, dtype=np.int64)
    cohort = binned_cohort([states[name].field() for name in names])
    inner = binned_cohort([states[name].inside for name in names])
    whole = pooled.inside
    brain = Ranked(replace(whole.steps(), region=INSIDE), nobody, inner)
    decision = _decide(whole, quantile)
    return RowPixels(test, subset, names, pooled.field().steps(), nobody, cohort, decision, brain)


def _decide(pooled: PixelStats | PixelState, quantile: Quantile | None) -> Decision | None:
    if quantile is None:
        return None
    false_positive, true_positive = pooled.counts_above(threshold_key(quantile.value))
    return Decision(quantile, true_positive, false_positive)


def to_arrays(rows: Sequence[RowPixels], subjects: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Return the arrays in which rows are stored, each of the smallest type that fits.

    Args:
        rows: All rows of a result with slices.
        subjects: All subjects of each test set; resamples draw from these.
    """
    arrays: dict[str, np.ndarray] = {}
    index: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        parts = {"gaps": row.steps.gaps, "tied": row.steps.tied, "lesions": row.steps.lesions}
        parts |= {"subject_gaps": row.cohort.gaps, "subject_tied": row.cohort.tied}
        if row.steps.exact:
            # A lesion pixel is identified by its subject and area; few such pairs occur, so their numbers are small.
            pairs, codes = np.unique(np.stack([row.owners, row.steps.areas]), axis=1, return_inverse=True)
            parts |= {"pairs": pairs, "codes": codes.ravel()}
        else:
            parts |= {"weights": row.steps.weights}
            parts |= {"subject_lesions": row.cohort.lesions, "subject_weights": row.cohort.weights}
        entry, inner = (None, {}) if row.brain is None else brain_parts(row.field, row.brain)
        parts |= inner
        facts = {"exact": row.steps.exact, "components": row.steps.components, "brain": entry}
        index.append({**_entry(row), **facts})
        arrays |= {f"{number}/{name}": _small(values) for name, values in parts.items()}
    head = {"format": FORMAT, "tests": {name: list(listed) for name, listed in subjects.items()}, "rows": index}
    return {"index": np.array(json.dumps(head, sort_keys=True)), **arrays}


def to_grouped_arrays(rows: Sequence[RowPixels], subjects: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Return the arrays in which rows with grouped steps are stored; arguments as in `to_arrays`."""
    if not all(isinstance(one.steps, GroupedSteps) for row in rows for one in (row, row.brain) if one is not None):
        raise ValueError("a row's steps are not grouped")
    return grouped_arrays([(_entry(row), row.field, row.brain) for row in rows], subjects)


def _entry(row: RowPixels) -> dict[str, Any]:
    decision = None if row.decision is None else asdict(row.decision)
    return {"test": row.test, "subset": row.subset, "subjects": list(row.subjects), "decision": decision}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[list[RowPixels], dict[str, tuple[str, ...]]]:
    """Return rows, and the subjects of each test set, checked for consistency.

    Args:
        arrays: Those of `to_arrays` or `to_grouped_arrays`.

    Raises:
        UserError: If an array is missing or impossible.
    """
    rows, subjects = parsed(arrays, _parts, _DAMAGED)
    for row in rows:
        if not set(row.subjects) <= set(subjects.get(row.test, ())):
            raise UserError(f"Pixel statistics of {row.test}, {row.subset} name subjects outside the test set.")
        try:
            row.check()
        except UserError as error:
            raise UserError(f"{row.test}, {row.subset}: {error}") from None
    return rows, subjects


def _parts(arrays: Mapping[str, np.ndarray]) -> tuple[list[RowPixels], dict[str, tuple[str, ...]]]:
    head = json.loads(str(arrays["index"].item()))
    if not isinstance(head, dict) or head.get("format") not in (FORMAT, GROUPED_FORMAT):
        raise UserError("Pixel statistics come from an earlier version without exact counts; run the cell again.")
    subjects = {str(name): tuple(map(str, listed)) for name, listed in head["tests"].items()}
    if head["format"] == GROUPED_FORMAT:
        return [_made(entry, field, brain) for entry, field, brain in read_grouped(arrays, head)], subjects
    return [_named_row(arrays, number, entry) for number, entry in enumerate(head["rows"])], subjects


def _named_row(arrays: Mapping[str, np.ndarray], number: int, entry: Mapping[str, Any]) -> RowPixels:
    where = f"{entry['test']}, {entry['subset']}"
    try:
        return parsed(arrays, lambda found: _row(found, number, entry), _DAMAGED)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _row(arrays: Mapping[str, np.ndarray], number: int, entry: Mapping[str, Any]) -> RowPixels:
    def part(name: str) -> np.ndarray:
        values = arrays[f"{number}/{name}"]
        if values.dtype.kind != "u":
            raise ValueError(name)
        return values.astype(np.int64)

    empty = np.empty(0, dtype=np.int64)
    areas, owners, weights = empty, empty, empty
    names = tuple(map(str, entry["subjects"]))
    if entry["exact"]:
        owners, areas = part("pairs")[:, part("codes")]
    else:
        weights = part("weights")
    steps = Steps(part("gaps"), part("tied"), part("lesions"), areas, weights, int(entry["components"]))
    steps.check()
    if entry["exact"]:
        if len(owners) and owners.max() >= len(names):
            raise ValueError("owners")
        lesions, shares = lesion_tables(steps, owners, len(names))
    else:
        lesions, shares = part("subject_lesions"), part("subject_weights")
    field = Ranked(steps, owners, Cohort(part("subject_gaps"), part("subject_tied"), lesions, shares))
    brain = read_brain(entry["brain"], part, field) if entry.get("brain") is not None else None
    return _made(entry, field, brain)


def _made(entry: Mapping[str, Any], field: Ranked, brain: Ranked | None) -> RowPixels:
    places = str(entry["test"]), str(entry["subset"]), tuple(map(str, entry["subjects"]))
    return RowPixels(*places, field.steps, field.owners, field.cohort, _decision(entry), brain)


def _decision(entry: Mapping[str, Any]) -> Decision | None:
    found = entry["decision"]
    return found and Decision(Quantile(**found["quantile"]), int(found["tp"]), int(found["fp"]))


def _small(values: np.ndarray) -> np.ndarray:
    """Return non-negative integers in the smallest unsigned type that holds them."""
    most = int(values.max()) if values.size else 0
    return values.astype(next(t for t in (np.uint8, np.uint16, np.uint32, np.uint64) if most <= np.iinfo(t).max))
