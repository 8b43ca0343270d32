"""Why the metrics inside the brain are undefined, one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyadbench.metrics.names import BRAIN

if TYPE_CHECKING:
    from anyadbench.metrics.core.ranking import Steps

MOST_OUTSIDE = 0.5
"""Share of lesion pixels outside the brain above which the metrics inside it say nothing of the lesions."""


def brain_reasons(field: Steps, brain: Steps) -> dict[str, str]:
    """Return the reason of each metric of the brain that is undefined; empty if all are defined.

    Args:
        field: Ranking of all pixels.
        brain: Ranking of those inside the brain.
    """
    reason = _reason(field.lesion_pixels, brain.lesion_pixels, brain.normal_pixels)
    return dict.fromkeys(BRAIN, reason) if reason else {}


def _reason(lesions: int, inside: int, normals: int) -> str:
    if not normals and not inside:
        return "No pixel of these slices lies inside the brain: every sequence is 0 everywhere."
    if not lesions:
        return "No pixel is lesion, so there is nothing to localise."
    outside = 1 - inside / lesions
    if outside > MOST_OUTSIDE:
        return (
            f"{outside:.0%} of the lesion pixels lie outside the brain, so metrics inside it would miss most lesions; "
            "check that masks and images lie on the same grid."
        )
    if not normals:
        return "Every pixel of the brain is lesion, so there is no false positive to count."
    return ""
