"""The hashes of a fit and a cell cover everything that they depend on, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anyadbench.data.store.store import SliceStore
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.protocols.model import Protocol


def hashes(protocol: Protocol, store: SliceStore) -> tuple[str, str]:
    data = ProtocolData(protocol, {"phantom": store})
    return data.training_hash(), data.test_hash()


def scan_of(protocol: Protocol, store: SliceStore, part: str) -> str:
    split = ProtocolData(protocol, {"phantom": store}).selections["phantom"].split
    return next(str(scan) for scan, subject in store.scans["subject"].items() if split[subject] == part)


@pytest.mark.parametrize("column", ["p99.8_flair", "scale_flair"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_how_a_scan_is_scaled_is_part_of_the_hash_of_whatever_reads_it(
    column: str, part: str, protocol: Protocol, store: SliceStore
) -> None:
    scans = store.scans.copy()
    scans.loc[scan_of(protocol, store, part), column] *= 3
    before, after = hashes(protocol, store), hashes(protocol, replace(store, scans=scans))
    changed = [one != other for one, other in zip(before, after, strict=True)]
    assert changed == [part == "train", part == "test"]


def test_a_changed_slice_changes_the_hash_of_whatever_reads_it(protocol: Protocol, store: SliceStore) -> None:
    data = ProtocolData(protocol, {"phantom": store})
    for rows, place in ((data.train_rows(), 0), (np.concatenate(data.test_rows(protocol.tests[0])), 1)):
        slices = store.slices.copy()
        slices.loc[slices.index[rows[0]], "sha"] = "0" * 64
        before, after = hashes(protocol, store), hashes(protocol, replace(store, slices=slices))
        assert [one != other for one, other in zip(before, after, strict=True)] == [place == 0, place == 1]


def test_what_no_rule_selects_changes_nothing(protocol: Protocol, store: SliceStore) -> None:
    data = ProtocolData(protocol, {"phantom": store})
    used = np.concatenate([data.train_rows(), data.validation_rows(), *data.test_rows(protocol.tests[0])])
    unused = np.setdiff1d(np.arange(len(store)), used)
    slices = store.slices.copy()
    slices.loc[slices.index[unused], "sha"] = "0" * 64
    assert hashes(protocol, store) == hashes(protocol, replace(store, slices=slices))


def test_the_shifted_phantom_is_another_set_of_heads_and_needs_no_folder() -> None:
    from anyadbench.cells.stores import locate
    from anyadbench.data.phantom.embedded import EMBEDDED
    from anyadbench.protocols import find_protocol

    plain, shifted = EMBEDDED["phantom"], EMBEDDED["phantom-shift"]
    assert shifted.shift and not plain.shift and shifted.seed != plain.seed
    assert locate(find_protocol("phantom-shift"), ()) == {}


def test_two_data_sets_need_their_names() -> None:
    from anyadbench.cells.stores import locate
    from anyadbench.errors import UserError
    from anyadbench.protocols import find_protocol

    with pytest.raises(UserError, match="reads the data sets brats2018, mu; give --data NAME=DIR for each"):
        locate(find_protocol("cross-brats-mu"), ("somewhere",))


def test_no_slice_to_validate_on_is_one_sentence(protocol: Protocol, store: SliceStore) -> None:
    from anyadbench.errors import UserError

    rules = replace(protocol, selection="validation")
    data = ProtocolData(rules, {"phantom": store})
    data.selections["phantom"] = replace(data.selections["phantom"], val_normals=np.array([], dtype=np.int64))
    with pytest.raises(UserError, match="no lesion-free slice is left to validate on, but tiny selects on validation"):
        data.validation_rows()
