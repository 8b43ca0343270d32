"""Names of the metrics and the version of their definitions."""

from __future__ import annotations

METRIC_VERSION = "2"
"""Stamped into results; raise it with any change of a definition or a value.

Version 2 groups the steps of subjects by lesion pixels instead of fixed bins (intervals), draws subjects from the whole
test set, and adds metrics by lesion size.
"""

METRICS: tuple[str, ...] = (
    "image_auroc",
    "image_ap",
    "image_f1",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1",
    "aupro",
)
"""Names of the metrics, in the order of the boards. ``pixel_f1`` is the highest pooled Dice over all thresholds."""

BALANCED: tuple[str, ...] = ("image_ap_balanced", "image_f1_balanced")
"""Image AP and F1 with normal slices weighted to the same total as abnormal ones, so that data sets and subsets with
different shares of abnormal slices can be compared."""
