"""What a check against the data says of differences, and which values of --data are folders."""

from __future__ import annotations

import pytest

from anyadbench.launch.recheck import _first, _folders


def test_embedded_data_sets_need_no_folder() -> None:
    assert _folders(("phantom", "brats2018=x", "somewhere")) == ("brats2018=x", "somewhere")


@pytest.mark.parametrize(
    ("wanted", "found", "sentence"),
    [
        ({"a": {"b": [1, 2]}}, {"a": {"b": [2, 3]}}, "a.b has 3 and lacks 1."),
        ({"a": 1, "hash": "x"}, {"a": 2, "hash": "y"}, "a is 2, and the data give 1."),
        ({"a": [1, 2]}, {"a": [2, 1]}, "a is in another order."),
    ],
)
def test_the_first_difference_is_described(wanted: object, found: object, sentence: str) -> None:
    assert _first(wanted, found) == sentence
