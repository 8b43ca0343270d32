"""Which slices count, in words: a mask, a volume and a patient score say nothing about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyadbench.predict.prediction import Prediction
    from anyadbench.predict.slices import PatientSlices


def has_mask(slices: PatientSlices, subsets: list[Subset], limits: Mapping[Subset, float | None]) -> bool:
    """Return whether any slice that counts has a threshold for the sequences that it was scored with."""
    return any(slices.counts(item) and limits[subset] is not None for item, subset in _rows(slices, subsets))


def counting_notes(
    slices: PatientSlices, subsets: list[Subset], limits: Mapping[Subset, float | None] | None
) -> list[str]:
    """Return a note where most slices do not count, and where slices that do have no threshold.

    Args:
        slices: The scored slices.
        subsets: Sequences that each was scored with.
        limits: Pixel threshold of each subset; ``None`` where there is no mask anyway.
    """
    most = max(slices.brain(item) for item in slices.part.slices)
    counted = [subset for item, subset in _rows(slices, subsets) if slices.counts(item)]
    share = f"{100 * slices.protocol.slices.min_brain:g} % of the training field"
    if not counted:
        return [
            f"No mask, volume or patient score: none of the {slices.n_brain} slices with brain counts (each has brain "
            f"on less than {share}, {100 * most:.2g} % at most), so the map was not judged; give a scan of the whole "
            "head, or correct its voxel size."
        ]
    found = []
    without = slices.n_brain - len(counted)
    if without > len(counted):
        found.append(
            f"{without} of {slices.n_brain} slices with brain do not count, because they have brain on less than "
            f"{share}; mask, volume and patient score say nothing about them."
        )
    bare = [subset for subset in counted if limits is not None and limits[subset] is None]
    if bare:
        names = ", ".join(format_subset(subset) for subset in dict.fromkeys(bare))
        found.append(
            f"{'No mask' if len(bare) == len(counted) else 'The mask is incomplete'}: {len(bare)} of {len(counted)} "
            f"slices that count were scored with {names}, which has no threshold; give one with --threshold."
        )
    return found


def unscored_notes(prediction: Prediction) -> list[str]:
    """Return why no patient score could be taken though some slices count."""
    if not any(item.counted for item in prediction.slices):
        return []
    return ["No patient score: the slices that count show no tissue (values above 0); give the right image."]


def _rows(slices: PatientSlices, subsets: list[Subset]) -> list[tuple[dict[str, Any], Subset]]:
    return list(zip(slices.part.slices, subsets, strict=True))
