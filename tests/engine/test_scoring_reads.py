"""All subsets of a slice are scored from one read of the slice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.methods.contract import Scores
from anyadbench.protocols import find_protocol
from anyadbench.protocols.reader import read_protocol


class Counting:
    """An array that counts which of its slices are read."""

    def __init__(self, array: Any) -> None:
        self.array, self.taken = array, Counter[Any]()

    def block(self, row: Any, channel: int) -> Any:
        self.taken[int(row), channel] += 1
        return self.array.block(row, channel)

    def __getitem__(self, place: Any) -> Any:
        rows, *rest = place if isinstance(place, tuple) else (place,)
        self.taken.update((int(row), *rest) for row in np.atleast_1d(rows))
        return self.array[place]


class Plain:
    """A method that scores shown sequences by their brightness."""

    def __init__(self) -> None:
        self.scored = 0

    def score(self, batch: Any) -> Scores:
        self.scored += len(batch)
        return Scores(batch.inputs.sum(1))


@pytest.mark.parametrize(("name", "subsets"), [("phantom-7subsets", 7), ("phantom-15subsets", 15)])
def test_each_image_is_read_once_whatever_the_number_of_subsets(
    name: str, subsets: int, tiny_phantom: Path, tiny_protocol: Path
) -> None:
    rules = read_protocol(tiny_protocol)
    protocol = replace(find_protocol(name), slices=rules.slices, tests=rules.tests)
    store: Any = find_or_prepare(tiny_phantom, "phantom")
    counted: SliceStore = replace(store, images=Counting(store.images), masks=Counting(store.masks))
    data = ProtocolData(protocol, {"phantom": counted})
    method: Any = Plain()
    kept = MapSample("sample", protocol.sequences, list(protocol.rows(protocol.tests[0])))
    states = Evaluator(method, data, Policy(), Reporter(), kept).run_test(protocol.tests[0])
    rows = np.concatenate(data.test_indices(protocol.tests[0]))
    images: Any = counted.images
    masks: Any = counted.masks
    assert len(states) == subsets + 1 and method.scored > subsets / 2 * len(rows)
    assert set(images.taken.values()) == {1}
    assert len(images.taken) == int(counted.present(rows, protocol.sequences).sum())
    assert masks.taken == Counter((int(row),) for row in rows)
