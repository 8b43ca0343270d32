"""Healthy subjects, and the one score of a whole subject that alarms are about."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


def healthy_subjects(store: SliceStore, split: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the subjects that the data set calls healthy, by part; no part if it calls none so.

    Raises:
        UserError: If a healthy subject has a lesion.
    """
    if "healthy" not in store.scans:
        return {}
    flags = np.array([_is_true(value) for value in store.scans["healthy"]], dtype=bool)
    found: dict[str, list[str]] = {}
    for subject in sorted(set(store.scans["subject"].astype(str)[flags])):
        own = store.scans[store.scans["subject"].astype(str) == subject]
        if not all(_is_true(value) for value in own["healthy"]):
            continue  # a subject counts as healthy if all its scans do
        lesions = int(own["lesion_voxels"].sum())
        if lesions:
            raise UserError(
                f"{subject} of {store.dataset} is healthy by its table, but its mask has {lesions} lesion voxels; "
                "correct the table or the mask, and prepare the store again."
            )
        if subject in split:
            found.setdefault(split[subject], []).append(subject)
    return found


def healthy_parts(selection: Selection) -> dict[str, list[str]]:
    """Return the healthy subjects of a selection by part."""
    return healthy_subjects(selection.store, selection.split)


def test_subjects(selection: Selection) -> set[str]:
    """Return the subjects whose whole scans are scored: those of the test part, healthy ones included."""
    tested = {name for name, part in selection.split.items() if part == "test"}
    return tested | set(healthy_parts(selection).get("test", ()))


def subject_facts(store: SliceStore, subject: str) -> tuple[float | None, str, str]:
    """Return age in years, sex and site of a subject, as the data set's table gives them for its first scan."""
    entry = store.scans[store.scans["subject"].astype(str) == subject].iloc[0]
    age = _number(entry.get("age"))
    return age, _text(entry.get("sex")), _text(entry.get("site"))


def _is_true(value: object) -> bool:
    return str(value).strip().casefold() in ("1", "1.0", "true", "yes")


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number < 150 else None


def _text(value: object) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text.casefold() in ("nan", "none") else text
