"""Numbers of a row that only some protocols and data sets have: whole scans, alarms of healthy subjects, and sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyadbench.metrics.boxes.row import box_numbers
from anyadbench.metrics.scans.alarm_numbers import alarm_numbers
from anyadbench.metrics.scans.scan_numbers import scan_numbers
from anyadbench.metrics.scans.site_numbers import site_numbers

if TYPE_CHECKING:
    from anyadbench.metrics.rows.row_pixels import RowPixels
    from anyadbench.metrics.scans.whole_scans import Place, WholeScans


def added_numbers(
    place: Place,
    whole: WholeScans,
    pixels: RowPixels | None,
    records: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return fields of `anyadbench.results.Row` by name; only those that this row has.

    Args:
        place: Test set and subset.
        whole: What the cell stores of its scans and subjects.
        pixels: Pixel statistics of the row; ``None`` for a row without slices.
        records: Its slices.
        metrics: Its metrics.
    """
    found: dict[str, Any] = {}
    if place in whole.rows:
        found["scans"] = scan_numbers(whole.rows[place])
    if place in whole.boxes:
        found["boxes"] = box_numbers(whole.boxes[place])
        value = whole.boxes[place].threshold
        found["threshold"] = None if value is None else {"value": value}  # without masks no decision is right or wrong
    if alarms := alarm_numbers(whole.scores, *place):
        found["alarms"] = alarms
    named = whole.sites.get(place[0], {})
    if pixels is not None and records and (sites := site_numbers(pixels, records, named, metrics)):
        found["sites"] = sites
    return found
