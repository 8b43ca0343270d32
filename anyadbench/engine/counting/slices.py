"""What the slice table holds of slices, whatever subset they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from anyadbench.engine.slice_reader import SliceReader

Entry = dict[str, str | int | float | None]
"""The entry of one slice; subset and scores are yet to be filled in."""


def slice_names(reader: SliceReader, indices: Int[np.ndarray, " B"]) -> list[str]:
    """Return what slices are called in sentences."""
    table = reader.store.slices.iloc[indices]
    return [f"{scan} slice {number}" for scan, number in zip(table["scan"], table["slice"], strict=True)]


def slice_entries(
    reader: SliceReader, test: str, indices: Int[np.ndarray, " B"], abnormal: Bool[np.ndarray, " B"], cavity: bool
) -> list[Entry]:
    """Return the entries of slices, the same in every row.

    Args:
        reader: Reader of the test set.
        test: Name of the test set.
        indices: Slices.
        abnormal: Which of them are abnormal.
        cavity: Whether resection cavities count as lesion.
    """
    table = reader.store.slices.iloc[indices]
    lesions = table["lesion_px"].to_numpy(np.int64)
    if not cavity:
        lesions = lesions - table["cavity_px"].to_numpy(np.int64)
    columns = (
        table["subject"].astype(str), table["scan"].astype(str), table["slice"].astype(int).tolist(),
        table["height_mm"].astype(float).tolist(), np.where(abnormal, lesions, 0).tolist(), abnormal.tolist(),
        table["brain"].astype(float).tolist(),
    )  # fmt: skip
    return [
        {
            "test": test,
            "subset": "",
            "subject": subject,
            "scan": scan,
            "slice": number,
            "height_mm": height,
            "label": int(label),
            "lesion_px": lesion,
            "brain": brain,
        }
        for subject, scan, number, height, lesion, label, brain in zip(*columns, strict=True)
    ]
