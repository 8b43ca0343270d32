"""Data sets of slices instead of volumes."""

from __future__ import annotations

from anyadbench.data.trees.sets.layout import SEGMENTATION, SKIP, Layout
from anyadbench.sequences import COMMON

SLICES = (
    Layout(
        "anyad-png",
        "Tree of 8-bit PNG slices as read by the AnyAD release",
        (
            r"(?P<part>train|test/NORMAL|test/ABNORMAL)/(?P<kind>flair|t1ce|t1|t2|mask)/"
            r"(?P<scan>(?P<subject>[^/.]+?)(?:~Timepoint~(?P<time>\d+))?)~slice(?P<slice>\d+)(?:~mask)?",
        ),
        {**{name: name for name in COMMON}, "mask": SEGMENTATION},
        expected=("flair", "t1", "t2"),
        labels={255: "lesion"},
        where="made from a data set by the user; the release ships neither data nor the code that cuts the slices",
        licence="that of the source data set",
        citation="AnyAD, arXiv:2512.21264",
        tree="train/{flair,t1,t2}/ID.png, test/NORMAL/{flair,t1,t2}/ID.png, test/ABNORMAL/{flair,t1,t2}/ID.png, "
        "test/ABNORMAL/mask/ID_mask.png; ID is SUBJECT[_Timepoint_N]_sliceK",
        notes="Masks hold 0 and 255. Each slice is scaled to 8 bits on its own, so the scan's scale is lost.",
        reader="png",
    ),
)
"""Trees of slices."""
