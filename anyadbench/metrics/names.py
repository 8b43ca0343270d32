"""Names of the metrics and the version of their definitions."""

from __future__ import annotations

METRIC_VERSION = "3"
"""Stamped into results; raise it with any change of a definition or a value.

Version 2 groups the steps of subjects by lesion pixels instead of fixed bins (intervals), draws subjects from the whole
test set, and adds metrics by lesion size.

Version 3 takes thresholds from the validation normals' pixels inside the brain and counts decisions there, because a
99th percentile over the field, air included, made masks larger than the brain. It adds the metrics of `BRAIN` and
`HEIGHT`, and leaves pixels of ignored labels out of every pixel metric; where a data set has none, the values of
`METRICS` are those of version 2.
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

BRAIN: tuple[str, ...] = ("brain_auroc", "brain_ap", "brain_f1", "brain_aupro_05", "brain_aupro_30")
"""Pixel metrics of the brain alone; AUPRO up to a false-positive rate of .05 and of .3 of its normal pixels."""

HEIGHT: tuple[str, ...] = ("image_auroc_height", "image_ap_height", "image_f1_height")
"""Image metrics of slice scores that were normalised by height and brain area."""

MIN_SUBJECTS = 5
"""With fewer subjects no number has an interval."""
