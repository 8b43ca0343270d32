"""Metrics of the house that come in as a plugin's do: from the slice table, through ``anyadbench_metrics``."""

from __future__ import annotations

from anyadbench.metrics.rows.plugin_metrics import AddedMetric, RowScores
from anyadbench.plugins.hookspecs import hookimpl


def mean_aupimo(row: RowScores) -> float:
    """Return the mean AUPIMO of the slices that have a lesion inside the brain; NaN if there is none."""
    if "aupimo" not in row.slices:
        return float("nan")
    return float(row.slices["aupimo"].astype(float).mean())


AUPIMO = AddedMetric(
    "aupimo",
    "Mean covered fraction of the lesions of a slice at false-positive rates of 1e-5 to 1e-4 per normal slice, inside "
    "the brain (AUPIMO).",
    mean_aupimo,
    needs=("aupimo",),
)


@hookimpl
def anyadbench_metrics() -> list[AddedMetric]:
    """Return the metrics of the house."""
    return [AUPIMO]
