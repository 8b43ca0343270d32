"""Which subjects are healthy, where they were scanned, and what a store says about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from trees import make_tree, path_of, save

from anyadbench.data.store.build import inputs_hash, prepare
from anyadbench.data.trees.files import Person
from anyadbench.data.trees.layouts import Layout, get_layout
from anyadbench.data.trees.readers.volume_tree import NiftiReader
from anyadbench.data.trees.survey import discover, survey
from anyadbench.data.trees.verify import verify

TINY = (24, 24, 8)
MIXED = replace(get_layout("brats2018"), healthy_subjects=r"Brats18~CBICA~A00[12]~1")


class Listed(NiftiReader):
    """A tree with a table of its subjects."""

    name = "test-listed"

    def people(self, root: Path, layout: Layout) -> Mapping[str, Person]:
        """Return what the table says."""
        return {
            "Brats18_CBICA_A001_1": Person(healthy=True, site="-A", age=61.5, sex="F"),
            "Brats18_CBICA_A002_1": Person(sex="M"),
        }


LISTED = replace(get_layout("brats2018"), reader=Listed())


def test_a_rule_names_the_healthy_subjects_of_a_set_with_lesions() -> None:
    assert MIXED.is_healthy("Brats18_CBICA_A001_1") and MIXED.is_healthy("brats18-cbica-a002-1")
    assert not MIXED.is_healthy("Brats18_CBICA_A003_1") and not MIXED.is_healthy("Brats18_CBICA_A001_12")
    assert get_layout("ixi").is_healthy("anyone") and not get_layout("mu").is_healthy("")


def test_the_rule_is_part_of_the_layout_only_where_there_is_one() -> None:
    plain = get_layout("brats2018")
    assert replace(plain, healthy_subjects="").fingerprint == plain.fingerprint != MIXED.fingerprint


def test_a_rule_that_is_no_expression_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'brats2018' has healthy_subjects '\(', which is not a regular expression"):
        replace(get_layout("brats2018"), healthy_subjects="(")


def test_healthy_subjects_need_no_segmentation_and_patients_do(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 3, TINY)
    for number in (1, 3):
        path_of("brats2018", tree, number, "seg").unlink()
    found = survey(tree, MIXED)
    assert [(scan.subject, scan.person.healthy) for scan in found.scans] == [
        ("Brats18_CBICA_A001_1", True), ("Brats18_CBICA_A002_1", True),
    ]  # fmt: skip
    assert [problem.scan for problem in found.problems] == ["Brats18_CBICA_A003_1"]


def test_a_healthy_subject_with_a_lesion_is_one_sentence(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 3, TINY)
    problems = verify(tree, MIXED)
    assert [p.scan for p in problems] == ["Brats18_CBICA_A001_1", "Brats18_CBICA_A002_1"]
    assert problems[0].sentence.endswith(
        "A001_1_seg.nii.gz holds 128 labelled voxels, but Brats18_CBICA_A001_1 counts as healthy; leave the scan out, "
        "or remove the segmentation if its labels are no lesion."
    )


def test_an_empty_segmentation_of_a_healthy_subject_is_fine(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 3, TINY)
    for number in (1, 2):
        save(path_of("brats2018", tree, number, "seg"), np.zeros(TINY, np.uint8))
    assert not verify(tree, MIXED)
    store = prepare(tree, MIXED, tmp_path / "store")
    assert store.healthy_subjects == {"Brats18_CBICA_A001_1", "Brats18_CBICA_A002_1"}
    assert store.scans["healthy"].dtype == bool and list(store.scans["healthy"]) == [True, True, False]


def test_a_healthy_set_with_masks_is_refused(tmp_path: Path) -> None:
    tree = make_tree("ixi", tmp_path, 2, TINY)
    labels = np.zeros(TINY, np.uint8)
    labels[10:12, 10:12, 3] = 1
    save(tree / "IXI/IXI001-Guys-0828-seg.nii.gz", labels)
    (problem,) = [p for p in verify(tree, get_layout("ixi")) if p.severity == "error"]
    assert "IXI001-Guys-0828-seg.nii.gz holds 4 labelled voxels, but IXI001 counts as healthy" in problem.sentence


def test_a_name_may_hold_the_site(tmp_path: Path) -> None:
    (scan,) = discover(make_tree("ixi", tmp_path, 1, TINY), get_layout("ixi"))
    assert (scan.scan, scan.subject) == ("IXI001-Guys-0828", "IXI001")
    assert scan.person == Person(healthy=True, site="Guys")


def test_what_a_table_says_reaches_the_store(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "tree", 3, TINY)
    path_of("brats2018", tree, 1, "seg").unlink()
    store = prepare(tree, LISTED, tmp_path / "store")
    scans = store.scans
    assert list(scans["site"]) == ["-A", "", ""] and list(scans["sex"]) == ["F", "M", ""]
    assert scans["age"].iloc[0] == 61.5 and np.isnan(scans["age"].iloc[1:]).all()
    assert store.healthy_subjects == {"Brats18_CBICA_A001_1"}


def test_another_table_makes_another_store(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path, 2, TINY)
    found = survey(tree, LISTED)
    changed = replace(found, scans=[replace(scan, person=Person(site="B")) for scan in found.scans])
    assert inputs_hash(found, LISTED) != inputs_hash(changed, LISTED)


def test_the_first_source_wins_and_either_makes_a_subject_healthy() -> None:
    known = Person(site="A").with_(Person(healthy=True, site="B", age=0.0, sex="M"))
    assert known == Person(healthy=True, site="A", age=0.0, sex="M")
