"""The page of all data sets lists each of them as its layout describes it."""

from __future__ import annotations

from layouts_page import table
from places import ROOT


def test_the_page_lists_every_data_set() -> None:
    assert table() in (ROOT / "docs/datasets.md").read_text()
