"""Details of a cell on a page besides its result: curves and provenance, which are not trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.results.read import inside, read_json

CurvePoints = tuple[tuple[float, float], ...]

CURVES = ("roc", "pr", "pro", "image_roc")
MAX_POINTS = 80
"""CurvePoints of a drawn curve; more would be indistinguishable at the size of the plot."""

_MAX_READ = 200_000


def read_curves(folder: Path) -> Mapping[tuple[str, str], Mapping[str, CurvePoints]]:
    """Return curves by test set and subset; anything but a list of finite pairs is left out.

    They come from ``scores/curves.json`` or, if the cell was published without it, from its pixel statistics.
    """
    try:
        data = read_json(folder, "scores/curves.json") if inside(folder, "scores/curves.json") else _computed(folder)
    except UserError:
        return {}
    found: dict[tuple[str, str], dict[str, CurvePoints]] = {}
    for place, curves in data.items() if isinstance(data, dict) else ():
        test, bar, subset = place.partition("|")
        if bar and isinstance(curves, dict):
            drawn = {name: points for name in CURVES if (points := _points(curves.get(name)))}
            if drawn:
                found[test, subset] = drawn
    return found


def _computed(folder: Path) -> dict[str, object]:
    from anyadbench.boards.aggregate.recompute import read_statistics
    from anyadbench.metrics.core.ranking import curve_points

    if inside(folder, "scores/pixels.npz") is None:
        return {}
    return {
        f"{test}|{label}": curve_points(part.steps) for (test, label), part in read_statistics(folder).pixels.items()
    }


def _points(value: object) -> CurvePoints:
    import numpy as np

    if not isinstance(value, list) or not 1 < len(value) <= _MAX_READ:
        return ()
    try:
        table = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        return ()
    if table.ndim != 2 or table.shape[1] != 2 or not bool(np.all((table >= -1e-6) & (table <= 1 + 1e-6))):
        return ()
    return thin(tuple((x, y) for x, y in table.tolist()))


def thin(points: CurvePoints, limit: int = MAX_POINTS) -> CurvePoints:
    """Keep at most ``limit`` points, spaced evenly along the curve, with both ends."""
    if len(points) <= limit:
        return points
    lengths = [0.0]
    for (x0, y0), (x1, y1) in pairwise(points):
        lengths.append(lengths[-1] + math.hypot(x1 - x0, y1 - y0))
    step = lengths[-1] / (limit - 1)
    kept, due = [points[0]], step
    for point, length in zip(points[1:-1], lengths[1:-1], strict=True):
        if length >= due and len(kept) < limit - 1:
            kept.append(point)
            due = length + step
    return (*kept, points[-1])


def read_manifest(folder: Path, limit: int = 25) -> list[tuple[str, str]]:
    """Return the entries of ``manifest.json``, nested names joined by dots, at most ``limit`` under each first name."""
    try:
        data = read_json(folder, "manifest.json")
    except UserError:
        return []
    if not isinstance(data, dict):
        return []
    sections = list(data.items())[:40]
    return [entry for name, value in sections for entry in islice(_flat(value, str(name), 0), limit)]


def _flat(value: object, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and depth < 6:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key), depth + 1)
    elif isinstance(value, list) and depth < 6 and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}[{index}]", depth + 1)
    elif name:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield name[:120], text[:300]
