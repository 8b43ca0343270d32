"""What the ids of fits and cells depend on of the harness's own files."""

from __future__ import annotations

import shutil
from pathlib import Path

import inprocess
import pytest

from anyadbench.hashing import python_files
from anyadbench.plugins import find_method
from anyadbench.protocols.model import read_protocol
from anyadbench.run import plan
from anyadbench.run.sources import ProtocolData

UNCOUNTED = {
    "data": "__init__ assemble checked discover duplicates export_png extract layouts npy part phantom png prepare "
    "problems quantise scan splits verify volume",
    "methods": "",
    "metrics": "",
    "protocols": "__init__ reader registry",
    "run": "__init__ cells display estimate events execute inventory jobs kept launchers manifest mapfiles outlook "
    "plan replan score supervise timing worker",
    "weights": "__init__ checksums hub packages",
}
"""Modules that no number of a planned cell depends on, but for what the ids hold anyway."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the harness."""
    ignored = shutil.ignore_patterns("__pycache__", ".ruff_cache")
    return Path(shutil.copytree(plan.PACKAGE, tmp_path / "elsewhere" / "harness", ignore=ignored))


def hashes(package: Path) -> tuple[str, str]:
    return plan.harness_hash(plan.FIT_CODE, package), plan.harness_hash(plan.SCORING_CODE, package)


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# edited\n")


@pytest.mark.parametrize("folder", sorted(UNCOUNTED))
def test_every_file_is_counted_or_known_not_to_matter(folder: str) -> None:
    counted = {name for name in (*plan.FIT_CODE, *plan.SCORING_CODE) if name.partition("/")[0] == folder}
    known = {f"{folder}/{name}{end}" for name in UNCOUNTED[folder].split() for end in ("", ".py")} | counted
    there = {path.relative_to(plan.PACKAGE).as_posix() for path in python_files(plan.PACKAGE / folder)}
    unknown = [name for name in there if not any(name == one or name.startswith(f"{one}/") for one in known)]
    assert unknown == [], "add each to FIT_CODE or SCORING_CODE of run/plan.py, or to UNCOUNTED"


def test_neither_the_place_nor_what_lies_about_matters(package: Path) -> None:
    assert hashes(package) == hashes(plan.PACKAGE)
    for name in ("metrics/__pycache__/image.pyc", "methods/.cache/base.py", "methods/notes.md", "metrics/._image.py"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("x")
    assert hashes(package) == hashes(plan.PACKAGE)


def test_ids_follow_the_files_that_can_change_a_number(
    package: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_own_hash", lambda parts: plan.harness_hash(parts, package))
    (job,) = inprocess.plan(tiny_protocol, {"phantom": tiny_phantom}, tmp_path / "runs")
    found = find_method(job.method)
    data = ProtocolData.from_paths(read_protocol(tiny_protocol), job.stores)
    weights = plan.weights_of(found[0], job.params, job.weights, data.protocol)

    def now() -> tuple[str, str]:
        job_now = plan.identified(job, *found, data, weights)
        return job_now.fit_id, job_now.cell_id

    last = now()
    assert last == (job.fit_id, job.cell_id)
    for name in ("cli/run.py", "boards/build.py", "run/supervise.py", "run/launchers/local.py", "run/events.py"):
        edit(package / name)
        assert now() == last, name
    for name in ("methods/inputs.py", "weights/build.py", "data/intensity.py", "run/masking.py", "run/trainer.py"):
        edit(package / name)
        assert now()[0] != last[0] and now()[1] != last[1], name
        last = now()
    for name in ("metrics/curves.py", "run/evaluate.py"):
        edit(package / name)
        assert now()[0] == last[0] and now()[1] != last[1], name
        last = now()


def test_a_fit_that_is_chosen_on_test_data_depends_on_the_scoring(
    package: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_own_hash", lambda parts: plan.harness_hash(parts, package))
    oracle = tmp_path / "oracle.toml"
    oracle.write_text('selection = "test-image-ap"\noracle = true\n' + tiny_protocol.read_text())
    asked = (oracle, {"phantom": tiny_phantom}, tmp_path / "runs", ["stfpm"])
    (before,) = inprocess.plan(*asked)
    edit(package / "metrics/image.py")
    (after,) = inprocess.plan(*asked)
    assert before.fit_id != after.fit_id
