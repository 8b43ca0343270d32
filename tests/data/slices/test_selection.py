"""Splits by subject, and the rules that make slices normal or abnormal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import make_tree

from anyadbench.data.slices.rules import HEALTHY, HealthySplitRules, SliceRules, SplitRules
from anyadbench.data.slices.selection import PARTS, Selection, select_slices, split_healthy, split_subjects
from anyadbench.data.store.build import prepare
from anyadbench.data.trees.layouts import get_layout
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash

names = st.sets(st.text("abcdef0123", min_size=1, max_size=4), min_size=1, max_size=60)


def table(subject: str, lesion: dict[int, int], n: int = 40, scan: str = "", **more: object) -> pd.DataFrame:
    """Return ``n`` slices of one scan with lesions of the given sizes."""
    index = np.arange(n)
    where = np.array(list(lesion))
    distance = np.abs(index[:, None] - where).min(axis=1) if len(where) else np.full(n, -1)
    columns = {"subject": subject, "timepoint": "", "scan": scan or subject, "slice": index, "height_mm": index * 1.0,
               "brain": 0.3, "lesion_px": [lesion.get(int(k), 0) for k in index], "cavity_px": 0, "part": "",
               "lesion_distance": distance}  # fmt: skip
    frame = pd.DataFrame({**columns, **more})
    frame["key"] = [int(stable_hash([subject, scan, int(k)])[:15], 16) for k in index]
    return frame


def fake(*tables: pd.DataFrame) -> Any:
    slices = pd.concat(tables, ignore_index=True)
    healthy = frozenset(slices.loc[slices["subject"].str.startswith("healthy"), "subject"])
    return SimpleNamespace(
        slices=slices, dataset="demo", path=Path("/s"), content_hash="c", healthy_subjects=healthy, boxes=None
    )


SPLIT = {"a": "train", "b": "train", "c": "train", "v": "val", "t": "test"}
LESION = {20: 50, 21: 30, 22: 5}


def usual() -> Any:
    return fake(*(table(name, LESION) for name in SPLIT))


def chosen(selection: Selection, rows: np.ndarray) -> list[tuple[str, int]]:
    frame = selection.store.slices.iloc[rows]
    return list(zip(frame["subject"], frame["slice"], strict=True))


@given(names)
def test_every_subject_is_in_one_part(subjects: set[str]) -> None:
    split = split_subjects(sorted(subjects))
    assert set(split) == subjects and set(split.values()) <= set(PARTS)
    assert "train" in split.values()
    assert len(subjects) < 2 or "test" in split.values()


@given(names)
def test_order_and_repetition_do_not_matter(subjects: set[str]) -> None:
    assert split_subjects(sorted(subjects)) == split_subjects([*sorted(subjects, reverse=True), min(subjects)])


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (2, 0, 1)), (5, (4, 0, 1)), (10, (7, 1, 2)), (285, (200, 28, 57))],
)
def test_sizes_of_the_parts(n: int, expected: tuple[int, int, int]) -> None:
    parts = list(split_subjects([f"s{i}" for i in range(n)]).values())
    assert tuple(parts.count(name) for name in PARTS) == expected


def test_the_salt_changes_the_split() -> None:
    subjects = [f"s{i}" for i in range(40)]
    assert split_subjects(subjects) != split_subjects(subjects, SplitRules(salt="other"))


def test_the_split_is_what_it_was() -> None:
    split = split_subjects([f"s{i}" for i in range(10)])
    assert {name for name, part in split.items() if part == "test"} == {"s0", "s6"}


def test_a_subject_joins_the_test_set_to_cover_a_subset() -> None:
    subjects = [f"s{i}" for i in range(10)]
    plain = split_subjects(subjects)
    only = next(name for name in subjects if plain[name] == "train")
    cover = {name: frozenset({"F", "T2"} if name == only else {"F"}) for name in subjects}
    covered = split_subjects(subjects, cover=cover)
    assert covered == {**plain, only: "test"}


def test_covering_leaves_a_subject_to_train() -> None:
    subjects = ["x", "y"]
    plain = split_subjects(subjects)
    only = next(name for name in subjects if plain[name] == "train")
    assert split_subjects(subjects, cover={only: frozenset({"T2"})}) == plain


def test_normal_and_abnormal_follow_the_rules() -> None:
    selection = select_slices(usual(), SliceRules(match_height=False), SPLIT)
    assert chosen(selection, selection.test_abnormals) == [("t", 20), ("t", 21)]
    assert [k for _, k in chosen(selection, selection.test_normals)] == [*range(16), *range(27, 40)]
    assert {name for name, _ in chosen(selection, selection.train_normals)} == {"a", "b", "c"}
    assert selection.validation == "subjects" and {n for n, _ in chosen(selection, selection.val_normals)} == {"v"}


def test_slices_with_little_brain_are_left_out() -> None:
    store = usual()
    store.slices.loc[store.slices["slice"] < 21, "brain"] = 0.09
    selection = select_slices(store, SliceRules(match_height=False), SPLIT)
    assert chosen(selection, selection.test_abnormals) == [("t", 21)]
    assert min(k for _, k in chosen(selection, selection.train_normals)) == 27


def test_a_scan_without_lesions_is_normal_throughout() -> None:
    selection = select_slices(fake(table("a", {}), table("t", LESION)), SliceRules(), {"a": "train", "t": "test"})
    rows = np.concatenate([selection.train_normals, selection.val_normals])
    assert len(rows) > 30 and {name for name, _ in chosen(selection, rows)} == {"a"}


def test_without_the_cavity_its_slices_are_neither() -> None:
    store = fake(*(table(name, LESION) for name in SPLIT))
    store.slices["cavity_px"] = np.where(store.slices["slice"] == 20, 40, 0)
    with_it = select_slices(store, SliceRules(match_height=False), SPLIT)
    without = select_slices(store, SliceRules(match_height=False, cavity=False), SPLIT)
    assert chosen(without, without.test_abnormals) == [("t", 21)]
    np.testing.assert_array_equal(with_it.test_normals, without.test_normals)


def test_test_normals_match_the_abnormals_in_height() -> None:
    store = fake(*(table(name, {20: 50, 21: 5}) for name in SPLIT))
    selection = select_slices(store, SliceRules(), SPLIT)
    assert chosen(selection, selection.test_normals) == [("t", 15)]


def test_abnormals_without_a_match_stay() -> None:
    store = fake(table("a", LESION), table("t", {k: 50 for k in range(10, 40)}))
    selection = select_slices(store, SliceRules(height_caliper_mm=5), {"a": "train", "t": "test"})
    assert chosen(selection, selection.test_normals) == [("t", 5)]
    assert [k for _, k in chosen(selection, selection.test_abnormals)] == list(range(10, 40))


def test_slices_with_few_normals_in_reach_choose_first() -> None:
    store = fake(table("a", LESION), table("t", {k: 50 for k in range(20, 40)}))
    selection = select_slices(store, SliceRules(height_caliper_mm=10), {"a": "train", "t": "test"})
    assert [k for _, k in chosen(selection, selection.test_normals)] == [10, 11, 12, 13, 14, 15]


def test_each_normal_is_used_once_and_within_the_caliper() -> None:
    store = fake(table("a", LESION), table("t", {k: 50 for k in range(12, 20)}), table("u", {}))
    rules = SliceRules(height_caliper_mm=2)
    selection = select_slices(store, rules, {"a": "train", "t": "test", "u": "test"})
    normals = [k for _, k in chosen(selection, selection.test_normals)]
    assert len(selection.test_normals) == len(set(selection.test_normals)) == len(selection.test_abnormals) == 8
    assert min(normals) >= 10 and max(normals) <= 21


def test_few_subjects_validate_on_a_block_of_their_slices() -> None:
    store = fake(table("a", {}), table("b", {}), table("t", LESION))
    selection = select_slices(store, SliceRules(), {"a": "train", "b": "train", "t": "test"})
    assert selection.validation == "slice block"
    for name in "ab":
        block = [k for own, k in chosen(selection, selection.val_normals) if own == name]
        rest = [k for own, k in chosen(selection, selection.train_normals) if own == name]
        assert block == list(range(block[0], block[0] + 6))
        assert min(abs(k - other) for k in block for other in rest) == 5


def test_a_block_spans_all_scans_of_its_subject() -> None:
    store = fake(table("a", {}, scan="a1"), table("a", {}, scan="a2"), table("t", LESION))
    selection = select_slices(store, SliceRules(), {"a": "train", "t": "test"})
    frame = store.slices.iloc[selection.val_normals]
    assert list(frame[frame["scan"] == "a1"]["slice"]) == list(frame[frame["scan"] == "a2"]["slice"])


def test_too_few_slices_for_a_block() -> None:
    store = fake(table("a", {}, n=3), table("t", LESION))
    selection = select_slices(store, SliceRules(), {"a": "train", "t": "test"})
    assert selection.validation == "none" and len(selection.train_normals) == 3 and not len(selection.val_normals)


def test_caps_spread_evenly() -> None:
    store = fake(*(table(name, {k: 50 for k in range(15, 35)}) for name in SPLIT))
    selection = select_slices(store, SliceRules(max_train=7, max_test=3), SPLIT)
    assert len(selection.train_normals) == 7
    assert {name for name, _ in chosen(selection, selection.train_normals)} == {"a", "b", "c"}
    assert [k for _, k in chosen(selection, selection.test_abnormals)] == [15, 25, 34]


def test_nothing_crosses_the_split() -> None:
    selection = select_slices(usual(), SliceRules(), SPLIT)
    parts = [selection.train_normals, selection.val_normals, selection.test_normals, selection.test_abnormals]
    subjects = [{name for name, _ in chosen(selection, rows)} for rows in parts]
    assert not subjects[0] & subjects[1] and not (subjects[0] | subjects[1]) & (subjects[2] | subjects[3])


def test_the_manifest_is_plain_and_hashed() -> None:
    manifest = select_slices(usual(), SliceRules(), SPLIT).manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["subjects"]["test"] == ["t"] and manifest["slices"]["test_abnormals"] == {"t": [20, 21]}
    other = select_slices(usual(), SliceRules(min_lesion_px=40), SPLIT).manifest()
    assert manifest["hash"] != other["hash"] and manifest == select_slices(usual(), SliceRules(), SPLIT).manifest()


def refusal(store: Any, rules: SliceRules | None = None, split: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        select_slices(store, rules or SliceRules(), split or SPLIT)
    return str(caught.value)


def test_a_set_without_lesion_free_slices() -> None:
    text = refusal(fake(*(table(name, {k: 50 for k in range(40)}) for name in SPLIT)))
    assert text.startswith("No subject of demo in /s has a lesion-free slice by the rules (no label, at least 5 slices")
    assert "lower normal_margin or min_brain" in text


def test_training_subjects_without_lesion_free_slices() -> None:
    full = {k: 50 for k in range(40)}
    assert refusal(fake(table("a", full), table("t", LESION))).startswith("No training subject of demo in /s has")


def test_a_set_without_lesions() -> None:
    text = refusal(fake(*(table(name, {}) for name in SPLIT)))
    assert text.startswith("No subject of demo in /s has a slice with a lesion by the rules (lesion at least 20 pixels")
    assert "choose a data set with lesions" in text


def test_test_subjects_without_lesions() -> None:
    text = refusal(fake(table("a", LESION), table("t", {})))
    assert text.startswith("No test subject of demo in /s has a slice with")


def test_test_subjects_without_lesion_free_slices() -> None:
    full = {k: 50 for k in range(40)}
    text = refusal(fake(table("a", LESION), table("t", full)))
    assert text.startswith("No test subject of demo in /s has a lesion-free slice")


def test_no_normal_within_the_caliper() -> None:
    text = refusal(usual(), SliceRules(height_caliper_mm=1))
    assert "lies within 1 mm in height" in text and "set match_height = false" in text


def test_a_set_that_is_only_tested_on_needs_no_training_slices() -> None:
    store = fake(table("t", LESION))
    assert len(select_slices(store, SliceRules(), {"t": "test"}, need=("test",)).test_abnormals) == 2
    assert refusal(store, split={"t": "test"})


def test_a_set_that_is_only_trained_on_needs_no_lesions() -> None:
    selection = select_slices(fake(table("a", {})), SliceRules(), {"a": "train"}, need=("train",))
    assert len(selection.train_normals) and not len(selection.test_normals)


def test_a_real_store_can_be_selected_from(tmp_path: Path) -> None:
    store = prepare(make_tree("brats2018", tmp_path / "a", 3, (20, 20, 16)), get_layout("brats2018"), tmp_path / "s")
    split = split_subjects(sorted(store.scans["subject"]))
    selection = select_slices(store, replace(SliceRules(), height_caliper_mm=20), split)
    assert len(selection.test_abnormals) == 2 and len(selection.train_normals)
    assert not store.abnormal(selection.train_normals).any()
    assert store.abnormal(selection.test_abnormals).any(axis=(1, 2)).all()


HEALTHY_SPLIT = {"healthy1": "train", "healthy2": "train", "healthy3": "val", "healthy4": "test"}


def mixed() -> Any:
    return fake(*(table(name, LESION) for name in SPLIT), *(table(name, {}) for name in HEALTHY_SPLIT))


def subjects_of(selection: Selection, rows: np.ndarray) -> list[str]:
    return sorted({subject for subject, _ in chosen(selection, rows)})


def test_healthy_subjects_never_train_with_patients() -> None:
    alone, beside = (select_slices(store, SliceRules(), SPLIT, healthy=own) for store, own in
                     ((usual(), {}), (mixed(), HEALTHY_SPLIT)))  # fmt: skip
    for name in ("train_normals", "val_normals", "test_normals", "test_abnormals"):
        assert chosen(alone, getattr(alone, name)) == chosen(beside, getattr(beside, name)), name
    assert [subjects_of(beside, getattr(beside, f"healthy_{part}")) for part in PARTS] == [
        ["healthy1", "healthy2"], ["healthy3"], ["healthy4"],
    ]  # fmt: skip
    assert beside.healthy_subjects("train") == ["healthy1", "healthy2"] and not alone.healthy_subjects("test")
    assert "healthy" not in alone.manifest() and beside.manifest()["healthy"]["normals"] == "lesion-free"


def test_with_healthy_normals_only_healthy_subjects_train_and_patients_test() -> None:
    found = select_slices(mixed(), SliceRules(), SPLIT, healthy=HEALTHY_SPLIT, normals=HEALTHY)
    assert subjects_of(found, found.train_normals) == ["healthy1", "healthy2"]
    assert subjects_of(found, found.val_normals) == ["healthy3"] and len(found.val_normals) == 40
    assert subjects_of(found, found.test_normals) == subjects_of(found, found.test_abnormals) == ["t"]
    assert found.manifest()["healthy"]["subjects"] == {"train": ["healthy1", "healthy2"], "val": ["healthy3"],
                                                       "test": ["healthy4"]}  # fmt: skip


def test_slices_of_healthy_subjects_need_the_brain_that_others_need() -> None:
    store = mixed()
    store.slices.loc[store.slices["slice"] < 10, "brain"] = 0.05
    found = select_slices(store, SliceRules(), SPLIT, healthy=HEALTHY_SPLIT, normals=HEALTHY)
    assert len(found.healthy_test) == 30 and min(store.slices["slice"].iloc[found.train_normals]) == 10


def test_few_healthy_subjects_validate_on_a_block_of_slices() -> None:
    split = split_healthy(mixed(), HealthySplitRules(), "anyadbench")
    assert sorted(split.values()) == ["test", "train", "train", "train"]
    found = select_slices(mixed(), SliceRules(), SPLIT, healthy=split, normals=HEALTHY)
    assert found.validation == "slice block" and len(found.val_normals)


def test_a_source_of_normals_that_a_set_lacks_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r'^demo in /s has no healthy subject, but .* write normals = "lesion-free"\.$'):
        select_slices(usual(), SliceRules(), SPLIT, normals=HEALTHY)
    only = fake(*(table(name, {}) for name in HEALTHY_SPLIT))
    with pytest.raises(UserError, match=r'^demo in /s has only healthy subjects, .* write normals = "healthy" below'):
        select_slices(only, SliceRules(), {}, ["train"], HEALTHY_SPLIT)
    with pytest.raises(UserError, match=r"^No healthy training subject of demo in /s has a slice with brain at least"):
        select_slices(only, SliceRules(), {}, ["train"], dict.fromkeys(HEALTHY_SPLIT, "test"), HEALTHY)


def test_a_set_of_healthy_subjects_alone_trains_without_a_test_part() -> None:
    only = fake(*(table(name, {}) for name in HEALTHY_SPLIT))
    found = select_slices(only, SliceRules(), {}, ["train"], HEALTHY_SPLIT, HEALTHY)
    assert len(found.train_normals) == 80 and len(found.val_normals) == 40 and not len(found.test_abnormals)
