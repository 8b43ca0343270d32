"""A patient's scores as percentiles among normal scans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Percentiles:
    """Percentages of normals with a lower score, 0 to 100.

    Attributes:
        patient: That of the patient score, among normal scans, or among normal slices where there are too few scans.
        among: ``scans`` or ``slices``: what ``patient`` is a percentage of.
        slices: For each scored slice, that of its score inside the brain among normal slices at its height; ``None``
            where no normal slice lies near its height, and in slices that do not count.
        n_scans: Normal scans.
        n_slices: Normal slices.
        source: Where the normals come from.
    """

    patient: float | None
    among: str
    slices: tuple[float | None, ...]
    n_scans: int
    n_slices: int
    source: str
