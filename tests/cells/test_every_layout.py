"""Every data set from its tiny tree to a scored row: verified, prepared, and tested on every subset that it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from inprocess import run
from trees import make_tree

from anyadbench.data.trees.layouts import LAYOUTS, get_layout
from anyadbench.data.trees.problems import errors
from anyadbench.data.trees.verify import verify
from anyadbench.sequences import all_subsets, format_subset

SHAPE = (24, 24, 14)
HEALTHY = {"ixi": ("brats2018", ("t1", "t2")), "oasis": ("atlas", ("t1",))}
"""For each set of healthy people, where lesions come from, and the sequences that both have."""

SEQUENCES = {"bids": ("flair", "t1", "t1ce", "t2"), "brain-omnia": ("flair", "t1", "t1ce", "t2", "dwi", "adc")}
"""Sequences of the tiny trees of layouts that have no fixed ones."""

PROTOCOL = """
name = "tiny-{name}"
version = 1
title = "Tiny tree of {name}"
sequences = {sequences}
subsets = {subsets}
weights = "package"
budget = "tiny"
threads = 1

[train]
dataset = "{name}"
{normals}
[slices]
normal_margin = 1
min_lesion_px = 4
match_height = false

[[test]]
name = "{test}"
dataset = "{test}"
split = "{split}"
"""

SUBJECTS = {"brisc": 16, "brain-omnia": 4}
SCORED = [name for name in LAYOUTS if name not in ("nova", "phantom", "phantom-shift")]


def served(name: str, sequences: tuple[str, ...]) -> list[str]:
    """Return every subset that some scan of a tiny tree has."""
    if name != "brain-omnia":
        return [format_subset(subset) for subset in all_subsets(sequences)]
    sets = (("flair", "t1", "t1ce", "t2"), ("flair", "dwi", "adc"))
    return list(dict.fromkeys(format_subset(subset) for own in sets for subset in all_subsets(own)))


@pytest.mark.parametrize("name", SCORED)
def test_a_data_set_is_scored_on_every_subset(tmp_path: Path, name: str) -> None:
    layout = get_layout(name)
    test, sequences = HEALTHY.get(name, (name, SEQUENCES.get(name, layout.expected)))
    trees = {
        each: make_tree(each, tmp_path / each, FIRST.get(each, 0) + SUBJECTS.get(each, 5), SHAPE, ["apple"])
        for each in dict.fromkeys((name, test))
    }
    assert not errors(verify(trees[name], layout))
    subsets = served(name, sequences)
    file = tmp_path / f"tiny-{name}.toml"
    text = PROTOCOL.format(
        name=name, test=test, split="test" if test == name else "all", sequences=list(sequences), subsets=subsets,
        normals='normals = "healthy"' if name in HEALTHY else "",
    )  # fmt: skip
    file.write_text(text.replace("'", '"'))
    (done,) = run(file, trees, tmp_path / "runs", ["control:intensity"])
    rows = done.rows(test)
    assert set(subsets) <= set(rows)
    for subset in subsets:
        assert rows[subset].n_abnormal > 0 and rows[subset].n_normal > 0
        assert np.isfinite(rows[subset].metrics["pixel_auroc"])
