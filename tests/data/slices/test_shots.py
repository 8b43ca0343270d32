"""Few training subjects: which ones a seed chooses, and what the choice changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from healthy_fixture import with_people
from tiny import TINY_PROTOCOL

import anyadbench
from anyadbench.data.slices.shots import check_choice, choose_subjects
from anyadbench.data.store.store import SliceStore
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_choice_lies_inside_a_larger_one_and_newcomers_move_nobody(seed: int) -> None:
    for count in range(2, 12):
        subjects = {f"subject-{number}" for number in range(count)}
        everyone = choose_subjects(subjects, (), count, seed, "salt")
        assert set(everyone) == subjects
        for cut in range(1, count):
            assert choose_subjects(subjects, (), cut, seed, "salt") == everyone[:cut]
        for leaving in subjects:
            rest = choose_subjects(subjects - {leaving}, (), count, seed, "salt")
            assert rest == tuple(name for name in everyone if name != leaving)


def test_seeds_and_salts_choose_differently_and_complete_subjects_come_first() -> None:
    subjects = [f"s{k}" for k in range(30)]
    orders = {choose_subjects(subjects, (), 30, seed, salt) for seed in range(5) for salt in ("a", "b")}
    assert len(orders) == 10
    firsts = {choose_subjects(subjects, (), 1, seed, "a") for seed in range(40)}
    assert len(firsts) > 15
    mixed = choose_subjects(subjects[:3], subjects[3:], 30, 0, "a")
    assert set(mixed[:3]) == set(subjects[:3]) and set(mixed[3:]) == set(subjects[3:])


def test_only_the_training_slices_change(protocol: Protocol, store: SliceStore) -> None:
    whole = ProtocolData(protocol, {"phantom": store})
    all_rows, subjects = whole.train_indices(), store.slices["subject"].astype(str).to_numpy()
    kept: list[set[int]] = []
    for count in (1, 2, 3):
        data = ProtocolData(replace(protocol, shots=count), {"phantom": store}, seed=4)
        chosen = data.selections["phantom"].shots
        rows = data.train_indices()
        assert chosen is not None and set(subjects[rows]) == set(chosen.subjects) and len(chosen.subjects) == count
        assert set(rows.tolist()) == set(all_rows[np.isin(subjects[all_rows], chosen.subjects)].tolist())
        assert np.array_equal(data.validation_indices(), whole.validation_indices())
        assert data.test_hash() == whole.test_hash() and data.training_hash() != whole.training_hash()
        assert data.selections["phantom"].manifest()["shots"]["subjects"] == list(chosen.subjects)
        kept.append(set(rows.tolist()))
    assert kept[0] < kept[1] < kept[2]
    assert "shots" not in whole.selections["phantom"].manifest()


def test_the_seed_counts_into_the_training_data_only_where_it_chooses(protocol: Protocol, store: SliceStore) -> None:
    few = ProtocolData(replace(protocol, shots=1), {"phantom": store})
    hashes = {few.for_seed(seed).training_hash() for seed in range(8)}
    assert len(hashes) > 3
    whole = ProtocolData(protocol, {"phantom": store})
    assert whole.for_seed(3) is whole
    with pytest.raises(ValueError, match="for_seed"):
        few.train_indices()


def test_subjects_that_lack_a_sequence_are_chosen_last(protocol: Protocol, store: SliceStore) -> None:
    whole = ProtocolData(protocol, {"phantom": store})
    training = sorted(set(store.slices["subject"].astype(str).to_numpy()[whole.train_indices()]))
    scans = store.scans.copy()
    scans.loc[scans["subject"].astype(str).isin(training[:-1]), "has_t1"] = 0
    lacking = replace(store, scans=scans)
    for seed in range(6):
        chosen = ProtocolData(replace(protocol, shots=2), {"phantom": lacking}, seed).selections["phantom"].shots
        assert chosen is not None and chosen.subjects[0] == training[-1] and chosen.subjects[1] in training[:-1]


def test_too_few_subjects_is_one_sentence(protocol: Protocol, store: SliceStore) -> None:
    with pytest.raises(UserError) as caught:
        ProtocolData(replace(protocol, shots=50), {"phantom": store}, seed=0).train_indices()
    said = str(caught.value)
    assert "trains on 50 subjects (train.shots), but " in said and "lower train.shots, raise split.train" in said
    assert said.count(". ") == 0


def test_too_few_healthy_subjects_is_one_sentence(protocol: Protocol, store: SliceStore) -> None:
    people = sorted(set(store.scans["subject"].astype(str)))[:3]
    rules = replace(protocol, normals="healthy", shots=4)
    with pytest.raises(UserError, match=r"trains on 4 subjects .* 2 healthy training subjects .* split.healthy.train"):
        ProtocolData(rules, {"phantom": with_people(store, people)}, seed=0).train_indices()


@pytest.mark.parametrize("value", ["0", "-2", '"few"', "true", "1.5"])
def test_a_wrong_number_of_shots_is_one_sentence(value: str, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(TINY_PROTOCOL.replace("[slices]", f"shots = {value}\n[slices]"))
    with pytest.raises(UserError, match=r'line 13: train.shots must be "all" or a number of subjects from 1, got'):
        read_protocol(path)


def test_shots_count_into_the_hash_and_not_into_the_family(tmp_path: Path) -> None:
    def read(shots: str) -> Protocol:
        path = tmp_path / "p.toml"
        path.write_text(TINY_PROTOCOL.replace("[slices]", f"{shots}\n[slices]"))
        return read_protocol(path)

    plain, named, two = read(""), read('shots = "all"'), read("shots = 2")
    assert plain.hash == named.hash != two.hash
    assert plain.family == two.family == replace(two, name="other").family
    assert plain.family != replace(two, sequences=("flair", "t1")).family


@pytest.mark.parametrize("shots", [1, 2, 4, 8])
def test_the_protocols_of_few_subjects_lie_on_one_curve_with_that_of_all(shots: int) -> None:
    builtin = Path(anyadbench.__file__).parent / "protocols" / "builtin"
    few, everyone = (read_protocol(builtin / f"phantom-{name}.toml") for name in (f"kshot-{shots}", "7subsets"))
    assert (few.shots, everyone.shots) == (shots, 0)
    assert few.family == everyone.family


def test_a_stored_choice_is_made_again() -> None:
    subjects = [f"s{k}" for k in range(6)]
    chosen = choose_subjects(subjects, (), 2, 1, "x")
    stored = {"seed": 1, "subjects": list(chosen), "complete": subjects, "incomplete": []}
    assert check_choice(stored, 2, 1, "x", subjects) == ""
    other = next(name for name in subjects if name not in chosen)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**stored, "subjects": [chosen[0], other]}, f"trains on {chosen[0]}, {other}, but seed 1 chooses"),
        ({**stored, "seed": 2}, "chose its training subjects with seed 2"),
        ({**stored, "complete": [*subjects, "z"]}, "chose among z, which is not a training subject"),
        ({**stored, "complete": subjects[:1], "subjects": subjects[:1]}, "trains on s0, but seed 1 chooses s0"),
        ({}, "does not say which training subjects"),
    ]
    for found, said in wrong:
        assert said in check_choice(found, 2, 1, "x", subjects)
