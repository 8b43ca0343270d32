"""The main metrics of a row by site."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.intervals.interval import intervals, too_few
from anyadbench.metrics.intervals.jackknife import jackknife_values, one_seed

if TYPE_CHECKING:
    from anyadbench.metrics.rows.row_pixels import RowPixels

SITE_METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", "brain_ap")


def site_numbers(
    pixels: RowPixels, records: Sequence[Mapping[str, Any]], sites: Mapping[str, str], points: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the fields of `anyadbench.results.Site` for each site; nothing unless there are two.

    Args:
        pixels: Pixel statistics of the row.
        records: Its slices.
        sites: Site of each subject; subjects without one are left out.
        points: Metrics of the whole row.
    """
    named = {name: sites.get(name, "") for name in pixels.subjects}
    listed = sorted({site for site in named.values() if site})
    if len(listed) < 2:
        return []
    slices = {name: [record for record in records if record["subject"] == name] for name in pixels.subjects}
    images = [
        (np.array([float(r["image_score"]) for r in own]), np.array([bool(r["label"]) for r in own]))
        for own in slices.values()
    ]
    brain = None if pixels.brain is None else pixels.brain.cohort
    whole = {name: math.nan if value is None else float(value) for name, value in points.items()}
    found = []
    for site in listed:
        places = [place for place, name in enumerate(pixels.subjects) if named[name] == site]
        members = [pixels.subjects[place] for place in places]
        line = one_seed(members, *jackknife_values(pixels.cohort, images, whole, places, brain))
        values = {name: float(line.metric(name)[0][0]) for name in SITE_METRICS}
        few = too_few(len(members))
        ends = {} if few else {name: one for name, one in intervals(line).items() if name in SITE_METRICS}
        chosen = [record for name in members for record in slices[name]]
        found.append(
            {
                "site": site, "n_subjects": len(members), "n_slices": len(chosen),
                "n_abnormal": sum(bool(record["label"]) for record in chosen),
                "metrics": {name: None if math.isnan(value) else value for name, value in values.items()},
                "intervals": {name: (one.low, one.high) for name, one in ends.items() if not one.reason},
                "reason": few,
            }
        )  # fmt: skip
    return found
