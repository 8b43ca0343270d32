"""Every command block of the documents runs: on generated trees, with the smallest budget and without weights.

Blocks of ``make`` are run by ``.ci/run`` itself.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BRATS = {name: name for name in ("flair", "t1", "t1ce", "t2", "seg")}
MSLUB = {"flair": "FLAIR", "t1": "T1", "t2": "T2", "seg": "GOLD_STANDARD"}

MU = {"flair": "brain_t2f", "t1": "brain_t1n", "t1ce": "brain_t1c", "t2": "brain_t2w", "seg": "tumorMask"}


def blocks(document: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(document.read_text()) if found == language]


def commands() -> list[tuple[str, str]]:
    lines = [(d.name, line) for d in DOCUMENTS for body in blocks(d, "sh") for line in body.splitlines() if line]
    return [(name, line) for name, line in lines if not line.startswith("make ")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small trees under the names that the documents use."""
    from anyadbench.data.phantom import PhantomSpec, generate

    folder = tmp_path_factory.mktemp("docs")
    # Slices as thin as the default phantom's: the built-in rules count margins in slices and match heights in mm.
    spec = PhantomSpec("phantom-docs", subjects=10, shape=(48, 48, 62), spacing=(4.5, 4.5, 2.5))
    tree = generate(tmp_path_factory.mktemp("phantom-docs") / "tree", spec)
    for number, scan in enumerate(sorted((tree / "HGG").iterdir()), 1):
        for path in scan.iterdir():
            kind = path.name.removesuffix(".nii.gz").rpartition("_")[2]
            name = f"Brats18_2013_{number}_1"
            copy(path, folder / "BraTS2018" / "HGG" / name / f"{name}_{BRATS[kind]}.nii.gz")
            if kind in MSLUB:
                copy(path, folder / "mslub" / f"patient{number:02d}" / f"{MSLUB[kind]}.nii.gz")
    other = PhantomSpec("phantom-docs", subjects=10, seed=1, shape=(48, 48, 62), spacing=(4.5, 4.5, 2.5))
    for number, scan in enumerate(sorted((generate(tree.parent / "other", other) / "HGG").iterdir()), 1):
        for path in scan.iterdir():
            kind = path.name.removesuffix(".nii.gz").rpartition("_")[2]
            name = f"PatientID_{number:04d}_Timepoint_1"
            copy(path, folder / "MU" / f"PatientID_{number:04d}" / "Timepoint_1" / f"{name}_{MU[kind]}.nii.gz")
    write_maps(folder / "my-maps", folder / "BraTS2018")
    return folder


def write_maps(folder: Path, data: Path) -> None:
    """Write random maps of every test slice and subset, as another program might."""
    import numpy as np

    from anyadbench.protocols import find_protocol
    from anyadbench.run.sources import ProtocolData, open_stores
    from anyadbench.sequences import format_subset

    protocol = find_protocol("brats-7subsets")
    prepared = ProtocolData(protocol, open_stores(protocol, {"brats2018": data}, lambda done, total, text: None))
    (test,) = protocol.tests
    rows = np.concatenate(prepared.test_rows(test))
    store = prepared.stores["brats2018"]
    present = prepared.reader("brats2018").present(rows)
    for subset in protocol.subsets:
        served = present[:, [protocol.sequences.index(name) for name in subset]].all(axis=1)
        for row in rows[served]:
            entry = store.slices.iloc[int(row)]
            path = folder / format_subset(subset) / str(entry["scan"]) / f"{entry['slice']}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.random.default_rng(int(row)).random(store.shape, dtype=np.float32))


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


_DONE: set[str] = set()


def run_line(line: str, place: Path) -> None:
    words = shlex.split(line)
    words = [{"demo": "tiny", "package": "random"}.get(word, word) for word in words]
    environment = {**os.environ, "ANYADBENCH_RUN_BUDGET": "tiny", "ANYADBENCH_RUN_WEIGHTS": "random"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _DONE.add(line)


def run_before(name: str, place: Path) -> None:
    """Run what a document trains, so that each of its lines can be tested alone."""
    for document, line in commands():
        if document == name and line.startswith("anyadbench run ") and line not in _DONE:
            run_line(line, place)


@pytest.mark.parametrize(("document", "line"), commands(), ids=[line[:70] for _, line in commands()])
def test_a_command_of_the_documents_runs(document: str, line: str, place: Path) -> None:
    words = shlex.split(line)
    assert words[0] == "anyadbench", f"{document}: only make and anyadbench commands belong in sh blocks"
    if "--cell" in words:
        run_before(document, place)
    run_line(line, place)


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=lambda d: d.name)
def test_python_blocks_run(document: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    if any("anyadbench.load(" in body for body in blocks(document, "python")):
        run_before(document.name, place)
    monkeypatch.chdir(place)
    maps = np.random.default_rng(0).random((4, 16, 16), dtype=np.float32)
    masks = np.zeros((4, 16, 16), dtype=bool)
    masks[:2, 4:8, 4:8] = True
    for body in blocks(document, "python"):
        exec(compile(body, document.name, "exec"), {"maps": maps, "masks": masks})


def test_every_builtin_protocol_has_its_page() -> None:
    from anyadbench.protocols import protocol_files

    index = (ROOT / "docs" / "protocols.md").read_text()
    for name in protocol_files():
        page = (ROOT / "docs" / "protocols" / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n") and "**Ours.**" in page and f"--protocol {name}" in page
        assert f"(protocols/{name}.md)" in index
    assert {path.stem for path in (ROOT / "docs" / "protocols").glob("*.md")} == set(protocol_files())


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
