"""Names and numbers as written in every board format."""

from __future__ import annotations

import re
from collections.abc import Iterable

DASH = "\N{EM DASH}"
"""Shown for an undefined number; the reason is given below the table."""

_LABELS = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1": "Image F1-max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1": "Pixel F1-max (best Dice)",
    "aupro": "AUPRO",
    "image_ap_balanced": "Image AP at a prevalence of ½",
    "image_f1_balanced": "Image F1-max at a prevalence of ½",
    "brain_auroc": "Pixel AUROC inside the brain",
    "brain_ap": "Pixel AP inside the brain",
    "brain_f1": "Pixel F1-max inside the brain",
    "brain_aupro_05": "AUPRO inside the brain, FPR up to .05",
    "brain_aupro_30": "AUPRO inside the brain, FPR up to .3",
    "image_auroc_height": "Image AUROC, normalised by height",
    "image_ap_height": "Image AP, normalised by height",
    "image_f1_height": "Image F1-max, normalised by height",
}
_SHORT = {
    "image_auroc": "I-AUROC",
    "image_ap": "I-AP",
    "image_f1": "I-F1",
    "pixel_auroc": "P-AUROC",
    "pixel_ap": "P-AP",
    "pixel_f1": "P-F1",
    "aupro": "AUPRO",
    "image_ap_balanced": "I-AP½",
    "image_f1_balanced": "I-F1½",
    "brain_auroc": "B-AUROC",
    "brain_ap": "B-AP",
    "brain_f1": "B-F1",
    "brain_aupro_05": "B-PRO.05",
    "brain_aupro_30": "B-PRO.3",
    "image_auroc_height": "I-AUROCh",
    "image_ap_height": "I-APh",
    "image_f1_height": "I-F1h",
}
KIND_TITLES = {
    "measured": "Measured",
    "oracle": "Oracle: selected on test data",
    "external": "Scored from maps of other programs",
    "reported": "Reported in publications",
    "control": "Controls: untrained",
}
# C0 and C1 controls, and characters that reorder or hide text on screen.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def metric_label(name: str) -> str:
    """Return a metric's name as a heading."""
    return _LABELS.get(name, clean(name.replace("_", " ")))


def metric_short(name: str) -> str:
    """Return a metric's name as a narrow heading."""
    return _SHORT.get(name, clean(name))


def clean(text: str, limit: int = 500) -> str:
    """Replace control characters by spaces, so that text from a file cannot control a terminal or break a line."""
    # Printable text has none of them, and seeing that is ten times as fast.
    shown = text if text.isprintable() else _CONTROLS.sub(" ", text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def decimal(value: float | None, digits: int = 3) -> str:
    """Format a share with three decimals and no leading zero, as papers do: ``.973``; a dash for ``None``."""
    if value is None:
        return DASH
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        return shown.lstrip("-")[1:]
    return shown.replace("0.", ".", 1) if shown.startswith(("0.", "-0.")) else shown


def six(value: float | None) -> str:
    """Format a number for a file: six decimals, an empty string for ``None``, never a negative zero."""
    if value is None:
        return ""
    shown = f"{value:.6f}"
    return shown[1:] if shown == "-0.000000" else shown


def rank_text(rank: int | None, group: int | None = None) -> str:
    """Return a rank with the letter of its tie group, e.g. ``"2 a"``; a dash for ``None``."""
    return DASH if rank is None else f"{rank} {group_letter(group)}".strip()


def group_letter(group: int | None) -> str:
    """Return ``a`` for the first tie group, ``b`` for the second, and so on; ``aa`` follows ``z``."""
    letters = ""
    while group:
        group, rest = divmod(group - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters


def span(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, or nothing if there is none."""
    return "" if low is None or high is None else f"[{decimal(low)}, {decimal(high)}]"


def signed(value: float | None) -> str:
    """Return a difference with its sign, e.g. ``"+.012"``; a dash for ``None``."""
    return DASH if value is None else ("+" if value > 0 else "") + decimal(value)


def p_text(value: float) -> str:
    """Return a p-value with three decimals, e.g. ``".031"`` or ``"< .001"``."""
    return "< .001" if value < 0.0005 else decimal(value)


def percent(value: float | None) -> str:
    """Return a share in per cent with two significant digits, e.g. ``"55 %"`` or ``"0.83 %"``; a dash for ``None``."""
    if value is None:
        return DASH
    shown = 100 * value
    return f"{shown:.0f} %" if shown >= 10 or shown == 0 else f"{shown:.2g} %"


def plural(count: int, noun: str) -> str:
    """Return ``"1 slice"`` or ``"2 slices"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def seed_text(seeds: tuple[int, ...]) -> str:
    """Return the seeds, e.g. ``"0, 1, 2"``."""
    return ", ".join(map(str, seeds))


def named_seeds(seeds: Iterable[int]) -> str:
    """Return ``"seed 1"`` or ``"seeds 1, 2"``, sorted and without repetition."""
    found = tuple(sorted(set(seeds)))
    return f"seed{'' if len(found) == 1 else 's'} {seed_text(found)}"
