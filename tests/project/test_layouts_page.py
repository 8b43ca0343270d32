"""The page of all data sets lists each of them as its layout describes it."""

from __future__ import annotations

from layouts_page import table
from places import ROOT


def test_the_page_lists_every_data_set() -> None:
    page = (ROOT / "docs/datasets.md").read_text()
    missing = [line for line in table().splitlines() if line not in page.splitlines()]
    assert not missing, "add or correct these lines of docs/datasets.md:\n" + "\n".join(missing)
    listed = [line for line in page.splitlines() if line.startswith("| **`")]
    assert listed == [line for line in table().splitlines() if line.startswith("| **`")]
