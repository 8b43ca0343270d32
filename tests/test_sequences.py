from __future__ import annotations

import pytest

from anyadbench.errors import UserError
from anyadbench.sequences import COMMON, SEQUENCES, SHORT, all_subsets, format_subset, order, parse_subset


def test_subsets_are_written_in_canonical_order() -> None:
    assert format_subset(["t2", "flair", "t1"]) == "F+T1+T2"


@pytest.mark.parametrize("text", ["F+T1", "t1+f", "FLAIR + T1", "flair+t1"])
def test_subsets_are_read_in_any_case_and_order(text: str) -> None:
    assert parse_subset(text) == ("flair", "t1")


@pytest.mark.parametrize("text", ["", "F+", "F+SWI"])
def test_what_is_no_subset_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a subset of sequences; join F, T1, T1ce, T2"):
        parse_subset(text)


def test_three_sequences_have_seven_subsets_and_four_have_fifteen() -> None:
    assert [format_subset(s) for s in all_subsets(["t2", "t1", "flair"])] == [
        "F", "T1", "T2", "F+T1", "F+T2", "T1+T2", "F+T1+T2",
    ]  # fmt: skip
    assert len(all_subsets(["flair", "t1", "t1ce", "t2"])) == 15


def test_further_sequences_come_after_the_four_of_brats() -> None:
    assert SEQUENCES[: len(COMMON)] == COMMON == ("flair", "t1", "t1ce", "t2") and set(SHORT) == set(SEQUENCES)
    assert format_subset(["adc", "dwi", "flair"]) == "F+DWI+ADC" and parse_subset("dwi+PD") == ("pd", "dwi")


def test_an_unknown_or_missing_sequence_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown sequence 'swi'; use one of flair, t1, t1ce, t2, pd, dwi, adc"):
        order(["flair", "swi"])
    with pytest.raises(UserError, match="subset of sequences is empty"):
        order([])
