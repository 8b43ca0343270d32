"""Healthy subjects, and the one score of a whole subject that alarms are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from anyadbench.data.slices.selection import Selection
    from anyadbench.data.store.store import SliceStore

HOTTEST_ML = 1.0
"""Volume of brain whose mean score is the score of a scan."""


def subject_score(scores: Float32[np.ndarray, "d h w"], brain: Bool[np.ndarray, "d h w"], voxel_ml: float) -> float:
    """Return the mean score of the millilitre of brain with the highest scores.

    A maximum depends on single voxels and grows with their number; a share of the brain would miss small lesions in
    large brains. A millilitre is about 12 mm across, and the same on every grid.

    Args:
        scores: Anomaly scores.
        brain: Where there is brain; at least one voxel.
        voxel_ml: Volume of a voxel.
    """
    inside = scores[brain]
    count = min(max(1, round(HOTTEST_ML / voxel_ml)), len(inside))
    return float(np.partition(inside, len(inside) - count)[len(inside) - count :].mean(dtype=np.float64))


def healthy_parts(selection: Selection) -> dict[str, list[str]]:
    """Return the healthy subjects of a selection by part (train, val, test).

    Raises:
        UserError: If one of them has a lesion.
    """
    store = selection.store
    found = {part: selection.healthy_subjects(part) for part in ("train", "val", "test")}
    names = store.scans["subject"].astype(str)
    for subject in selection.healthy_split:
        lesions = int(store.scans["lesion_voxels"][names == subject].sum())
        if lesions:
            raise UserError(
                f"{subject} of {store.dataset} is healthy by its table, but its mask has {lesions} lesion voxels; "
                "correct the table or the mask, and prepare the store again."
            )
    return found


def test_subjects(selection: Selection) -> set[str]:
    """Return the subjects whose whole scans are scored: those of the test part, healthy ones included."""
    tested = {name for name, part in selection.split.items() if part == "test"}
    return tested | set(selection.healthy_subjects("test"))


def subject_facts(store: SliceStore, subject: str) -> tuple[float | None, str, str]:
    """Return age in years, sex and site of a subject, as the data set's table gives them for its first scan."""
    entry = store.scans[store.scans["subject"].astype(str) == subject].iloc[0]
    age = float(entry["age"])
    return (age if 0 <= age < 150 else None), str(entry["sex"]), str(entry["site"])
