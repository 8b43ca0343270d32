"""Every data set from its tiny tree to a scored row: verified, prepared, and tested on every subset that it has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from trees import make_tree

from anyadbench.controls.descriptors import INTENSITY
from anyadbench.data.phantom.embedded import EMBEDDED
from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.trees.layouts import LAYOUTS, get_layout
from anyadbench.data.trees.png import read_png
from anyadbench.data.trees.problems import errors
from anyadbench.data.trees.verify import verify
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator, RowState
from anyadbench.external.box_maps import score_boxes
from anyadbench.methods.contract import Context
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol
from anyadbench.sequences import all_subsets, format_subset
from anyadbench.weights.resolved import NO_WEIGHTS

SHAPE = (24, 24, 10)
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

SUBJECTS = {"brisc": 12, "brain-omnia": 4}
"""Numbers of subjects other than three; a picture is a subject."""
SCORED = [name for name in LAYOUTS if name != "nova" and name not in EMBEDDED]


def served(name: str, sequences: tuple[str, ...]) -> list[str]:
    """Return every subset that some scan of a tiny tree has."""
    if name != "brain-omnia":
        return [format_subset(subset) for subset in all_subsets(sequences)]
    sets = (("flair", "t1", "t1ce", "t2"), ("flair", "dwi", "adc"))
    return list(dict.fromkeys(format_subset(subset) for own in sets for subset in all_subsets(own)))


def evaluated(protocol: Protocol, trees: Mapping[str, Path]) -> dict[str, RowState]:
    """Prepare the trees and score the brightness control on the only test set, without the files of a cell."""
    data = ProtocolData(protocol, {name: find_or_prepare(tree, name) for name, tree in trees.items()})
    data.check_apart()
    (test,) = protocol.tests
    shape = data.reader(test.dataset).shape
    method = INTENSITY.build(Context(INTENSITY.resolve("tiny"), protocol.sequences, shape, NO_WEIGHTS))
    return Evaluator(method, data, Policy(), Reporter(), MapSample("none", protocol.sequences)).run_test(test)


@pytest.mark.parametrize("name", SCORED)
def test_a_data_set_is_scored_on_every_subset(tmp_path: Path, name: str) -> None:
    layout = get_layout(name)
    test, sequences = HEALTHY.get(name, (name, SEQUENCES.get(name, layout.expected)))
    # Other numbers are other heads: no image may be in both sets.
    numbers = {name: range(1, 1 + SUBJECTS.get(name, 3)), test: range(11, 14)} | {
        name: range(1, 1 + SUBJECTS.get(name, 3))
    }
    trees = {each: make_tree(each, tmp_path / each, own, SHAPE, ["apple"]) for each, own in numbers.items()}
    assert not errors(verify(trees[name], layout))
    subsets = served(name, sequences)
    file = tmp_path / f"tiny-{name}.toml"
    text = PROTOCOL.format(
        name=name, test=test, split="test" if test == name else "all", sequences=list(sequences), subsets=subsets,
        normals='normals = "healthy"' if name in HEALTHY else "",
    )  # fmt: skip
    file.write_text(text.replace("'", '"'))
    rows = evaluated(read_protocol(file), trees)
    assert set(subsets) <= set(rows)
    for subset in subsets:
        records = rows[subset].records
        assert {record["label"] for record in records} == {0, 1}
        assert np.isfinite([record["image_score"] for record in records]).all()
        assert rows[subset].subjects


def test_pictures_with_boxes_are_scored_from_maps(tmp_path: Path) -> None:
    tree = make_tree("nova", tmp_path / "nova", 3, SHAPE)
    assert verify(tree, get_layout("nova")) == []
    maps = tmp_path / "maps"
    maps.mkdir()
    for path in (tree / "images").iterdir():
        np.save(maps / f"{path.stem}.npy", read_png(path).astype(np.float32))
    found = score_boxes(maps, tree / "bboxes_gold.csv")
    assert (found.images, found.boxes) == (3, 4) and 0 <= found.metrics["ap30"] <= 1
