"""Warnings for the reader: special conditions and implausible numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anyadbench.metrics.names import MIN_SUBJECTS
from anyadbench.results.schema import CellResult, Row
from anyadbench.sequences import AS_AVAILABLE, SEQUENCES, SHORT

FIELD_COUNTS = ("1", "2")
"""Metric versions whose counts at the threshold are of the whole field; those of later ones are inside the brain."""

_EXACT = 1e-12
_FLOOR = 1e-9

CHOSEN = "chosen on test figures"
"""Flag of a variant with a choice that was made on the figures of a test set."""

RANDOM = "random weights"
"""Flag of a variant whose pretrained network is random."""


def never_flag(sequence: str) -> str:
    """Return the flag of a sequence that no training slice has."""
    return f"never trained on {SHORT.get(sequence, sequence)}"


EXPLANATIONS: Mapping[str, str] = {
    CHOSEN: "A choice of this implementation was made on the figures of a test set, which flatters the row.",
    RANDOM: "The pretrained network was replaced by random numbers, on request.",
    "healthy normals": "Trained on healthy subjects, not on lesion-free slices of patients.",
    "published checkpoint": "The authors' trained network, not trained here; it may have seen these test subjects.",
    "tiny budget": "Trained for seconds to test the program; the numbers do not measure the method.",
    "demo budget": "Trained with a smaller network, image or number of steps than published.",
    **{
        never_flag(name): f"No training slice has {SHORT[name]}: all of it is new to the method, which explains values "
        "below chance."
        for name in SEQUENCES
    },
    "below chance": "An AUROC is below .5: scores may be reversed, or the cell may be broken.",
    "maps all equal": "Pixel AUROC is exactly .5, as for maps with one value everywhere.",
    "image scores all equal": "Image AUROC is exactly .5, as for scores that are all equal.",
    "image F1 at floor": "Image F1-max is the value for calling every slice abnormal: 2p / (p + 1) for a share p.",
    "pixel F1 at floor": "Pixel F1-max is the value for calling every pixel of the field abnormal.",
    "brain F1 at floor": "Pixel F1-max inside the brain is the value for calling the whole brain abnormal.",
    "few subjects": f"Fewer than {MIN_SUBJECTS} test subjects, so there is no interval.",
    "other test slices": "Scored on a different number of slices than the other methods, and therefore not ranked.",
    "external maps": "Maps of another program, scored here; how it was trained is unknown.",
    "not above the controls": "No test shows this to be better than the best of brain mask and brightness, with a "
    "correction for all methods and subsets of the board.",
    "lesions out of view": "Some abnormal slices have no lesion pixel on the scoring grid: cropped away or too small.",
    "promise broken": "More healthy subjects alarm than promised: by chance at most once in twenty calibrations.",
    "environment changed": "Training was interrupted and resumed under another library, processor, device or driver.",
    "other sequence fed": "The test set puts another sequence into a slot of the method.",
}


def trivial_f1(share: float) -> float:
    """Return the F1 of calling everything positive if a fraction ``share`` is: 2p / (p + 1)."""
    return 2 * share / (share + 1)


def variant_flags(result: CellResult, seeds: Sequence[CellResult] = ()) -> tuple[str, ...]:
    """Return the flags that apply to every number of a variant, from one result and those of its other seeds."""
    found = []
    if result.weights.marked or result.weights.kind == "random":
        found.append(RANDOM)
    if result.weights.kind == "checkpoint":
        found.append("published checkpoint")
    if result.kind == "measured" and result.method.budget != "paper":
        found.append(f"{result.method.budget} budget")
    if result.kind in ("measured", "oracle") and result.protocol.normals == "healthy":
        found.append("healthy normals")
    if result.kind == "external":
        found.append("external maps")
    if result.method.chosen_on:
        found.append(CHOSEN)
    if any("environments" in one.train for one in (result, *seeds)):
        found.append("environment changed")
    return tuple(found)


def untrained_flags(result: CellResult, row: Row) -> list[str]:
    """Return a flag for each sequence of a row that the method was never trained on."""
    if result.trained_on is None or row.subset == AS_AVAILABLE:
        return []
    shown = {row.feed.get(name, name) for name in row.sequences}
    return [never_flag(name) for name in result.trained_on.never if name in shown]


def row_flags(results: Sequence[CellResult], rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the flags of one subset's rows, one per seed with its result; a flag in any seed counts."""
    found: dict[str, None] = {}
    for result, row in zip(results, rows, strict=True):
        found |= dict.fromkeys(untrained_flags(result, row))
        for flag in _implausible(row, result.metric_version):
            found[flag] = None
        if row.n_emptied:
            found["lesions out of view"] = None
        if row.feed:
            found["other sequence fed"] = None
        if any(one.broken for one in row.alarms):
            found["promise broken"] = None
        if 0 < row.n_subjects < MIN_SUBJECTS:
            found["few subjects"] = None
    return tuple(flag for flag in EXPLANATIONS if flag in found)


def _implausible(row: Row, metric_version: str) -> list[str]:
    found = []
    pixel, image = row.metrics.get("pixel_auroc"), row.metrics.get("image_auroc")
    if any(value is not None and value < 0.5 - _EXACT for value in (pixel, image)):
        found.append("below chance")
    if pixel is not None and abs(pixel - 0.5) <= _EXACT:
        found.append("maps all equal")
    if image is not None and abs(image - 0.5) <= _EXACT:
        found.append("image scores all equal")
    if row.n_normal and row.n_abnormal:
        share = row.n_abnormal / (row.n_abnormal + row.n_normal)
        found += _at_floor("image F1 at floor", row.metrics.get("image_f1"), share)
    if row.threshold is not None:
        counts = row.threshold
        pixels = counts.tp + counts.fp + counts.fn + counts.tn
        # A share of the brain says nothing about the field's F1: air makes the field several times as large.
        where = "pixel" if metric_version in FIELD_COUNTS else "brain"
        if pixels and counts.tp + counts.fn:
            share = (counts.tp + counts.fn) / pixels
            found += _at_floor(f"{where} F1 at floor", row.metrics.get(f"{where}_f1"), share)
    return found


def _at_floor(flag: str, value: float | None, share: float) -> list[str]:
    return [flag] if value is not None and value <= trivial_f1(share) + _FLOOR else []
