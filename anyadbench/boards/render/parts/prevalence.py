"""How common lesions are in the test data of a row: without it, AP and F1 of two rows cannot be compared."""

from __future__ import annotations

from anyadbench.boards.aggregate.model import Line
from anyadbench.boards.render.text import percent


def abnormal_share(line: Line) -> float | None:
    """Return the share of slices with a lesion; ``None`` if the row does not state its slices."""
    slices = line.n_normal + line.n_abnormal
    return line.n_abnormal / slices if slices else None


def lesion_share(line: Line) -> float | None:
    """Return the share of lesion pixels, from the counts at the threshold; ``None`` without them."""
    found = line.threshold
    pixels = 0 if found is None else found.tp + found.fp + found.fn + found.tn
    return None if found is None or not pixels else (found.tp + found.fn) / pixels


def prevalence_text(line: Line) -> str:
    """Return both shares, e.g. ``"55 % of slices, 0.8 % of pixels"``; empty if none is known."""
    shares = ((abnormal_share(line), "slices"), (lesion_share(line), "pixels"))
    return ", ".join(f"{percent(share)} of {what}" for share, what in shares if share is not None)
