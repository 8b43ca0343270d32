"""How a site's normals differ from a cell's validation normals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.results.normals import LEVELS
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.results.normals import Normals, NormalScores

WARN_KS = 0.2
"""Kolmogorov-Smirnov distance of brain intensities from which on sites differ: a fifth of the brain's pixels."""

WARN_EFFECT = 0.8
"""Standardised difference of slice scores from which on sites differ: "large" by Cohen (1988)."""

WARN_SHARE = 0.03
"""Share of the site's normal brain above the cell's own threshold, which promises .01."""


def drift(site: NormalScores, cell: NormalScores | None) -> dict[str, Any]:
    """Return how the site's normals differ from the cell's, as plain values.

    Returns:
        ``intensities``: by sequence, ``ks``, the largest distance between the distributions of brain intensities on the
        protocol's scale, and ``ks_within``, the largest distance of one of the cell's own scans from its others.
        ``scores``: by subset, ``ks`` and ``effect`` (standardised difference of means) of the slices' scores inside the
        brain, and ``share``, the share of the site's normal brain above the cell's own threshold. Empty without the
        cell's normals.
    """
    if cell is None:
        return {"intensities": {}, "scores": {}}
    shared = [name for name in site.intensities if name in cell.intensities]
    return {
        "intensities": {
            name: {"ks": distance(site.intensities[name], cell.intensities[name]), "ks_within": _within(cell, name)}
            for name in shared
        },
        "scores": {
            label: _scores(own, cell.subsets[label]) for label, own in site.subsets.items() if label in cell.subsets
        },
    }


def warnings(found: dict[str, Any], kind: str) -> list[str]:
    """Return a sentence for each difference above its level.

    Args:
        found: From `drift`.
        kind: What the cell's normals are.
    """
    lines = []
    for name, own in found["intensities"].items():
        if own["ks"] >= WARN_KS:
            lines.append(
                f"Brain intensities of {SHORT[name]} differ from those of the cell's {kind} (Kolmogorov-Smirnov "
                f"distance {own['ks']:.2f}; {WARN_KS:g} or more is a warning)."
            )
    for label, own in found["scores"].items():
        if abs(own["effect"]) >= WARN_EFFECT:
            how = "higher" if own["effect"] > 0 else "lower"
            lines.append(
                f"Slices shown {label} score {how} than those of the cell's {kind}, by {abs(own['effect']):.1f} "
                f"standard deviations ({WARN_EFFECT:g} or more is a warning)."
            )
        if own["share"] >= WARN_SHARE:
            lines.append(
                f"{own['share']:.1%} of the normals' brain shown {label} lies above the cell's own threshold, which "
                f"1 % should exceed ({WARN_SHARE:.0%} or more is a warning)."
            )
    return lines


def distance(first: Float[np.ndarray, "s l"], second: Float[np.ndarray, "t l"]) -> float:
    """Return the Kolmogorov-Smirnov distance between two groups of scans, each scan with the same weight.

    Args:
        first: Quantiles (`LEVELS`) of each scan's intensities.
        second: Those of the other group.
    """
    points = np.unique(np.concatenate([first.ravel(), second.ravel()]))
    return float(np.abs(_share_below(first, points) - _share_below(second, points)).max())


def _share_below(quantiles: Float[np.ndarray, "s l"], points: Float[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    return np.asarray(np.mean([np.interp(points, own, LEVELS, left=0.0, right=1.0) for own in quantiles], axis=0))


def _within(cell: NormalScores, name: str) -> float | None:
    scans = cell.intensities[name]
    if len(scans) < 2:
        return None
    return max(distance(scans[i : i + 1], np.delete(scans, i, axis=0)) for i in range(len(scans)))


def _scores(site: Normals, cell: Normals) -> dict[str, float]:
    from scipy.stats import ks_2samp

    first, second = (np.asarray(own.slices["brain_score"], np.float64) for own in (site, cell))
    spread = float(np.sqrt((first.var() + second.var()) / 2))
    difference = float(first.mean() - second.mean())
    pixels = site.slices["pixels"]
    share = float((site.shares(cell.threshold) * pixels).sum() / max(1, pixels.sum()))
    return {
        "ks": float(ks_2samp(first, second).statistic),
        "effect": difference / spread if spread else 0.0,
        "share": share,
    }
