"""The main metrics by site: those of the site's subjects alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.rows.split_counts import slice_pixels
from anyadbench.metrics.scans.site_numbers import SITE_METRICS, site_numbers


def row_of(names: list[str]) -> tuple[Any, list[dict[str, Any]]]:
    state, records = RowState("F", exact=True), []
    for name in names:
        rng = np.random.default_rng(int(name[1:]))
        masks = np.zeros((6, 12, 12), bool)
        masks[:3, 4:7, 4:7] = True
        maps = (rng.standard_normal(masks.shape) + masks).astype(np.float32)
        for i in range(6):
            one = {"subject": name, "scan": name, "slice": i, "label": int(i < 3), "lesion_px": 9 * (i < 3)}
            records.append({**one, "image_score": float(maps[i].max())})
        state.add(maps, slice_pixels(masks, np.ones_like(masks)), records[-6:])
    return state.pixels("t", None), records


NAMES = [f"s{number}" for number in range(8)]
SITES = {name: "Utrecht" if number < 6 else "Oslo" for number, name in enumerate(NAMES)}


def test_the_numbers_of_a_site_are_those_of_its_subjects() -> None:
    pixels, records = row_of(NAMES)
    points = row_numbers(pixels, records, [])[0]["metrics"]
    oslo, utrecht = site_numbers(pixels, records, SITES, points)
    assert (oslo["site"], oslo["n_subjects"], oslo["n_slices"], oslo["n_abnormal"]) == ("Oslo", 2, 12, 6)
    alone = row_numbers(*row_of(NAMES[:6]), [])[0]
    assert set(utrecht["metrics"]) == set(SITE_METRICS)
    for name, value in utrecht["metrics"].items():
        assert value == pytest.approx(alone["metrics"][name], abs=1e-3), name
    assert utrecht["intervals"]["pixel_ap"] == pytest.approx(alone["intervals"]["pixel_ap"], abs=5e-3)


def test_below_five_subjects_there_is_no_interval() -> None:
    pixels, records = row_of(NAMES)
    points = row_numbers(pixels, records, [])[0]["metrics"]
    oslo, utrecht = site_numbers(pixels, records, SITES, points)
    assert oslo["intervals"] == {} and oslo["reason"].startswith("No interval: 2 test subjects")
    assert utrecht["reason"] == "" and utrecht["intervals"]


def test_one_site_is_no_stratum() -> None:
    pixels, records = row_of(NAMES[:3])
    points = row_numbers(pixels, records, [])[0]["metrics"]
    assert site_numbers(pixels, records, dict.fromkeys(NAMES, "Oslo"), points) == []
    assert site_numbers(pixels, records, {}, points) == []
