"""Which of the harness's own files the ids of fits and cells depend on."""

from __future__ import annotations

import shutil
from pathlib import Path

import inprocess
import pytest

from anyadbench.cells import identity
from anyadbench.cells.identity import Ids
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.plugins import find_method
from anyadbench.protocols.reader import read_protocol


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the harness."""
    ignored = shutil.ignore_patterns("__pycache__", ".ruff_cache")
    return Path(shutil.copytree(identity.PACKAGE, tmp_path / "elsewhere" / "harness", ignore=ignored))


def hashes(package: Path) -> tuple[str, str]:
    return identity.harness_hash(identity.FIT_PARTS, package), identity.harness_hash(identity.SCORING_PARTS, package)


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# edited\n")


def test_what_counts_are_folders_of_the_package() -> None:
    counted = (*identity.FIT_PARTS, *identity.SCORING_PARTS)
    assert len(counted) <= 12
    for part in counted:
        assert (identity.PACKAGE / part).is_dir() or part == "sequences.py", part


def test_neither_the_location_nor_other_files_matter(package: Path) -> None:
    assert hashes(package) == hashes(identity.PACKAGE)
    for name in (
        "metrics/core/__pycache__/image.pyc",
        "methods/.cache/base.py",
        "methods/notes.md",
        "metrics/core/._image.py",
    ):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("x")
    assert hashes(package) == hashes(identity.PACKAGE)


def test_ids_follow_the_files_that_can_change_a_number(
    package: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "own_hash", lambda parts: identity.harness_hash(parts, package))
    (job,) = inprocess.plan(tiny_protocol, {"phantom": tiny_phantom}, tmp_path / "runs")
    found = find_method(job.method)
    data = ProtocolData.from_paths(read_protocol(tiny_protocol), job.stores, job.seed)
    weights = identity.weights_of(found[0], job.params, job.weights, data.protocol)

    def now() -> Ids:
        return identity.identify(*found, job.training, data, weights)

    last = now()
    assert last == (job.fit_id, job.cell_id)
    for name in one_file_of_each_folder(package):
        edit(package / name)
        fit, cell = now()
        part = counted(name)
        assert (fit != last.fit) == (part in identity.FIT_PARTS), name
        assert (cell != last.cell) == (part != ""), name
        last = Ids(fit, cell)


def one_file_of_each_folder(package: Path) -> list[str]:
    """Return the last Python file of every folder of the package, and the files next to its folders."""
    folders = {path.parent for path in package.rglob("*.py") if path.parent != package}
    chosen = [sorted(folder.glob("*.py"))[-1] for folder in sorted(folders)] + sorted(package.glob("*.py"))
    return [path.relative_to(package).as_posix() for path in chosen]


def counted(name: str) -> str:
    """Return the part by which a file counts; empty for a file that no id depends on."""
    parts = (*identity.FIT_PARTS, *identity.SCORING_PARTS)
    return next((part for part in parts if name == part or name.startswith(f"{part}/")), "")


def test_a_fit_that_is_selected_on_test_data_depends_on_the_scoring(
    package: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "own_hash", lambda parts: identity.harness_hash(parts, package))
    oracle = tmp_path / "oracle.toml"
    oracle.write_text('selection = "test-image-ap"\noracle = true\n' + tiny_protocol.read_text())
    asked = (oracle, {"phantom": tiny_phantom}, tmp_path / "runs", ["stfpm"])
    (before,) = inprocess.plan(*asked)
    edit(package / "metrics/core/image.py")
    (after,) = inprocess.plan(*asked)
    assert before.fit_id != after.fit_id
