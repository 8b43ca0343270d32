"""Suggestions in the sentences for a wrong name."""

from __future__ import annotations

import pytest

from anyadbench.data.trees.layouts import get_layout
from anyadbench.errors import UserError, close_names, suggest
from anyadbench.protocols import find_protocol

SETS = ["brats2018", "brats2019", "brats2024", "mslub", "mu"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("brast2018", " Did you mean 'brats2018'?"),
        ("MSLUB", " Did you mean 'mslub'?"),
        ("brats", " Did you mean brats2018, brats2019 or brats2024?"),
        ("m", " Did you mean mslub or mu?"),
        ("brats2011", " Did you mean brats2018 or brats2019?"),
        ("zzz", " Known: brats2018, brats2019, brats2024, mslub, mu."),
        ("", " Known: brats2018, brats2019, brats2024, mslub, mu."),
    ],
)
def test_the_close_names_are_suggested(name: str, said: str) -> None:
    assert suggest(name, SETS) == said


def test_names_that_are_equally_close_are_all_suggested() -> None:
    assert close_names("brats2022", ["brats2018", "brats2020", "brats2021", "mu"]) == ["brats2020", "brats2021"]


def test_a_name_that_begins_others_is_not_taken_for_a_misspelling() -> None:
    assert close_names("mask", ["masks", "masks_px", "task"]) == ["masks", "masks_px"]


def test_a_long_list_of_suggestions_is_cut() -> None:
    known = [f"anomalib:m{number}" for number in range(20)]
    said = suggest("anomalib", known)
    assert said == f" Did you mean {', '.join(known[:8])}, …?"


def test_nothing_known_is_nothing_suggested() -> None:
    assert suggest("x", []) == ""


def test_data_sets_and_protocols_of_a_family_are_all_suggested() -> None:
    with pytest.raises(UserError) as raised:
        get_layout("brats")
    years = "brats2018, brats2019, brats2020, brats2021, brats2023 or brats2024"
    assert str(raised.value) == f"Unknown data set 'brats'. Did you mean {years}?"
    with pytest.raises(UserError, match=r"Did you mean brats-15subsets, brats-7subsets or brats-7subsets-released\?"):
        find_protocol("brats")
