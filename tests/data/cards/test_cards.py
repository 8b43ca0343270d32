"""Data cards and Croissant descriptions of a prepared store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from trees import make_tree

from anyadbench.cli import main
from anyadbench.data.cards.croissant import CONFORMS, CONTEXT, croissant
from anyadbench.data.cards.markdown import card_markdown
from anyadbench.data.cards.summary import FILES, summarise
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.data.trees.layouts import get_layout

TINY = (24, 24, 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """Three people in BIDS, the last of them a control; the second has no FLAIR."""
    root = tmp_path_factory.mktemp("cards")
    tree = make_tree("bids", root / "tree", 3, TINY)
    next(tree.rglob("sub-02*_FLAIR.nii.gz")).unlink()
    return prepare(tree, get_layout("bids"), root / "store")


def test_a_card_counts_people_scans_and_lesions(store: SliceStore) -> None:
    card = summarise(store, get_layout("bids"))
    assert (card["subjects"], card["healthy_subjects"], card["scans"], card["scans_with_lesions"]) == (3, 1, 3, 2)
    assert card["sequences"]["F"] == {"scans": 2, "subjects": 2} and card["sequences"]["T1ce"]["scans"] == 3
    assert card["sites"] == {"A": 3} and card["sexes"] == {"F": 1, "M": 2}
    assert (card["age"]["least"], card["age"]["median"], card["age"]["known"]) == (31, 32, 3)
    # A box of 8 x 8 pixels on two slices of 1 mm.
    assert card["lesion_ml"]["least"] == card["lesion_ml"]["most"] == 0.128 and card["lesion_ml"]["known"] == 2
    assert card["slices_with_lesions"] == 4 and card["voxel_mm"]["z"] == {"least": 1.0, "most": 1.0}
    for name in FILES:
        assert card["files"][name]["sha256"] == hashlib.sha256((store.path / name).read_bytes()).hexdigest()


def test_the_card_reads_as_text(store: SliceStore) -> None:
    text = card_markdown(summarise(store, get_layout("bids")))
    for part in (
        "# Any data set in BIDS", "- 3 subjects, 1 of them healthy.", "- Sex: F 1, M 2.", "- Site: A 3.",
        "- Age: 31 to 33 years, median 32, known for 3 of 3.", "| F | 2 | 2 |", "- 2 of 3 scans have a lesion.",
        "- Volume: 0.128 to 0.128 mL, median 0.128, known for 2 of 3.", "- Voxels of 1 × 1 × 1 mm",
        store.content_hash[:16],
    ):  # fmt: skip
        assert part in text


def test_a_card_without_people_or_lesions_says_so(tmp_path: Path) -> None:
    store = prepare(make_tree("ixi", tmp_path / "ixi", 2, TINY), get_layout("ixi"), tmp_path / "store")
    text = card_markdown(summarise(store, get_layout("ixi")))
    assert "- Sex: unknown." in text and "- Age: unknown." in text and "- Volume: no lesion." in text
    assert "- Site: Guys 2." in text


def test_the_command_prints_and_writes_the_card(
    store: SliceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["data", "card", str(store.path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(summarise(store, get_layout("bids"))))
    with pytest.raises(SystemExit):
        main(["data", "card", str(store.path)])
    assert capsys.readouterr().out == card_markdown(summarise(store, get_layout("bids")))
    with pytest.raises(SystemExit):
        main(["data", "card", str(store.path), "--out", str(tmp_path / "out")])
    assert json.loads((tmp_path / "out" / "card.json").read_text()) == told
    assert (tmp_path / "out" / "card.md").read_text().startswith("# Any data set in BIDS")


def test_a_croissant_names_every_file_and_column(store: SliceStore, tmp_path: Path) -> None:
    found = croissant(store, summarise(store, get_layout("bids")), tmp_path / "c.json")
    assert found["@context"] == dict(CONTEXT) and found["conformsTo"] == CONFORMS
    for key in ("name", "description", "license", "url", "citeAs", "version", "distribution", "recordSet"):
        assert found[key]
    objects = {item["@id"]: item for item in found["distribution"]}
    assert set(objects) == set(FILES)
    for item in objects.values():
        path = tmp_path / item["contentUrl"]
        assert path.resolve() == store.path / item["name"] and len(item["sha256"]) == 64
    for records, table in zip(found["recordSet"], (store.scans, store.slices), strict=True):
        assert [field["source"]["extract"]["column"] for field in records["field"]] == list(table.columns)
        identifiers = {field["@id"] for field in records["field"]}
        assert records["key"]["@id"] in identifiers and len(identifiers) == len(table.columns)


def test_mlcroissant_accepts_the_description_and_reads_its_records(store: SliceStore, tmp_path: Path) -> None:
    croissants = pytest.importorskip("mlcroissant", reason="mlcroissant, of the extra dev, is not installed")
    file = tmp_path / "croissant.json"
    with pytest.raises(SystemExit) as ended:
        main(["datasets", "export-croissant", "bids", "--store", str(store.path), "--out", str(file)])
    assert not ended.value.code
    described = croissants.Dataset(jsonld=str(file))
    assert not described.metadata.issues.errors
    records = list(described.records("scans"))
    assert [record["scans/scan"].decode() for record in records] == list(store.scans["scan"])
    assert [record["scans/lesion_voxels"] for record in records] == list(store.scans["lesion_voxels"])


def test_boxes_are_counted_and_described(tmp_path: Path) -> None:
    croissants = pytest.importorskip("mlcroissant", reason="mlcroissant, of the extra dev, is not installed")
    layout = get_layout("nova")
    store = prepare(make_tree("nova", tmp_path / "nova", 3, TINY), layout, tmp_path / "store")
    card = summarise(store, layout)
    assert (card["scans_with_lesions"], card["slices_with_lesions"], card["boxes"]) == (3, 3, 4)
    assert "- Marked by 4 boxes instead of masks." in card_markdown(card)
    file = tmp_path / "croissant.json"
    file.write_text(json.dumps(croissant(store, card, file)))
    described = croissants.Dataset(jsonld=str(file))
    assert not described.metadata.issues.errors
    assert [record["boxes/left"] for record in described.records("boxes")] == [4.0, 5.0, 4.0, 4.0]


def test_the_command_needs_one_source_of_the_right_data_set(
    store: SliceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["datasets", "export-croissant", "ixi", "--out", str(tmp_path / "c.json")]
    for more, sentence in (
        ([], "Give one of --store, a prepared store, and --data, the folder of the data set."),
        (["--store", str(store.path)], f"{store.path} is a store of bids, but ixi is wanted; give a folder of ixi."),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *more])
        assert ended.value.code == 2 and sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "c.json").exists()


def test_a_description_may_be_made_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    tree, file = make_tree("ixi", tmp_path / "ixi", 2, TINY), tmp_path / "deep" / "c.json"
    file.parent.mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["datasets", "export-croissant", "ixi", "--data", str(tree), "--out", str(file)])
    assert not ended.value.code
    told = json.loads(file.read_text())
    store = open_store((file.parent / told["distribution"][0]["contentUrl"]).resolve().parent)
    assert store.content_hash == told["identifier"] and np.asarray(store.images).shape[0] == len(store)
