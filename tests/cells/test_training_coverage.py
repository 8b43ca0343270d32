"""Which sequences a method was trained on: counted, recorded, flagged, and said where it matters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from inprocess import Done, run

from anyadbench.boards.aggregate.assemble import make_boards
from anyadbench.boards.aggregate.flags import EXPLANATIONS
from anyadbench.cells.training_coverage import training_coverage
from anyadbench.cli import main
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.predict.card import card_markdown
from anyadbench.predict.cell import read_cell
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.read import read_cells


@pytest.fixture(scope="module")
def without_t2(tiny_phantom: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree like the tiny phantom whose training subjects have no T2."""
    folder = tmp_path_factory.mktemp("without") / "tree"
    shutil.copytree(tiny_phantom, folder)
    data = ProtocolData(read_protocol(tiny_protocol), _stores(tiny_protocol, folder))
    indices = data.train_indices()
    validation = data.validation_indices()
    scans = set(data.stores["phantom"].slices["scan"].to_numpy()[[*indices, *validation]])
    for path in folder.rglob("*_t2.nii.gz"):
        if path.parent.name in scans:
            path.unlink()
    return folder


def _stores(protocol: Path, folder: Path) -> dict[str, object]:
    from anyadbench.cells.stores import open_stores

    return open_stores(read_protocol(protocol), {"phantom": folder}, lambda done, total, label: None)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def done(without_t2: Path, tiny_protocol: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return run(tiny_protocol, {"phantom": without_t2}, tmp_path_factory.mktemp("coverage") / "runs")[0]


def test_slices_are_counted_by_sequence_and_by_subset(tiny_phantom: Path, tiny_protocol: Path) -> None:
    data = ProtocolData(read_protocol(tiny_protocol), _stores(tiny_protocol, tiny_phantom))  # type: ignore[arg-type]
    found = training_coverage(data)
    indices = data.train_indices()
    present = data.reader("phantom").present(indices)
    assert found.slices == len(indices)
    assert found.sequences == dict(zip(("flair", "t1", "t2"), present.sum(axis=0).tolist(), strict=True))
    assert found.subsets["F+T2"] == int((present[:, 0] & present[:, 2]).sum())
    assert found.subsets["T1"] == found.sequences["t1"] and found.never == ()


def test_a_result_records_what_was_never_trained_on(done: Done) -> None:
    found = done.result.trained_on
    assert found is not None and found.sequences["t2"] == 0 and found.sequences["flair"] > 0
    assert found.never == ("t2",) and found.subsets["F+T2"] == 0


def test_rows_with_it_are_flagged(done: Done) -> None:
    (board,) = make_boards(read_cells(done.folder.parent.parent))
    flagged = {line.subset for line in board.lines if "never trained on T2" in line.flags}
    assert flagged == {"T2", "F+T2", "T1+T2", "F+T1+T2"}
    assert "explains values below chance" in EXPLANATIONS["never trained on T2"]


def test_the_card_says_so(done: Done) -> None:
    text = card_markdown(read_cell(done.folder))
    assert "Never trained on T2: scores of scans with it mean nothing." in text
    assert "T2 0." in text


def test_a_prediction_says_so(done: Done, without_t2: Path) -> None:
    import anyadbench

    predictor = anyadbench.load(done.folder)
    scan = next(path.parent for path in sorted(without_t2.rglob("*_t2.nii.gz")))
    files = {name: next(scan.glob(f"*_{name}.nii.gz")) for name in ("flair", "t2")}
    notes = predictor.predict(files).notes
    assert "The method was never trained on T2; its scores mean nothing for this scan." in notes
    assert not any("never trained" in note for note in predictor.predict({"flair": files["flair"]}).notes)


def test_the_outlook_counts_too(
    without_t2: Path, tiny_protocol: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", str(tiny_protocol), "--data", str(without_t2), "--method", "pixelstats",
              "--runs", str(tmp_path / "none")])  # fmt: skip
    shown, said = capsys.readouterr()
    assert ended.value.code == 0, said
    assert "training slices with" in shown
    assert "T2 is never trained on: no training slice has it." in shown
