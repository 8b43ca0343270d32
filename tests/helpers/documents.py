"""The documents, their code blocks, and a folder with small trees under the names that they use."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from places import ROOT

WORKED = "\npip install --editable"
"""Documents that contain this line build a package; ``test_docs_packages.py`` follows them step by step."""

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BRATS = {name: name for name in ("flair", "t1", "t1ce", "t2", "seg")}
WARD = {"flair": "flair", "t1": "t1w", "t2": "t2w", "seg": "lesion"}
SHELF = {"flair": "flair", "t1": "t1", "t2": "t2", "seg": "lesion"}
MSLUB = {"flair": "FLAIR", "t1": "T1", "t2": "T2", "seg": "GOLD_STANDARD"}
MU = {"flair": "brain_t2f", "t1": "brain_t1n", "t1ce": "brain_t1c", "t2": "brain_t2w", "seg": "tumorMask"}


def blocks(document: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(document.read_text()) if found == language]


def make_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small trees under the names that the documents use."""
    from anyadbench.data.phantom import PhantomSpec, generate

    folder = tmp_path_factory.mktemp("docs")
    # Thin slices, as in BraTS: the built-in rules count margins in slices and match heights in mm.
    spec = PhantomSpec("phantom-docs", subjects=10, seed=0, shape=(48, 48, 62), spacing=(4.5, 4.5, 2.5))
    tree = generate(folder / "phantom", spec)
    for number, scan in enumerate(sorted((tree / "HGG").iterdir()), 1):
        for path in scan.iterdir():
            kind = path.name.removesuffix(".nii.gz").rpartition("_")[2]
            name = f"Brats18_2013_{number}_1"
            copy(path, folder / "BraTS2018" / "HGG" / name / f"{name}_{BRATS[kind]}.nii.gz")
            if kind in WARD:
                copy(path, folder / "ward" / f"W{number:03d}_{WARD[kind]}.nii.gz")
            if kind in SHELF:
                save_array(path, folder / "shelf" / f"S{number:03d}" / f"{SHELF[kind]}.npy")
            if kind in MSLUB:
                copy(path, folder / "mslub" / f"patient{number:02d}" / f"{MSLUB[kind]}.nii.gz")
    shutil.copytree(folder / "BraTS2018", folder / "healthy")
    other = PhantomSpec("phantom-docs", subjects=10, seed=1, shape=(48, 48, 62), spacing=(4.5, 4.5, 2.5))
    second = generate(tmp_path_factory.mktemp("other") / "tree", other)
    for number, scan in enumerate(sorted((second / "HGG").iterdir()), 1):
        for path in scan.iterdir():
            kind = path.name.removesuffix(".nii.gz").rpartition("_")[2]
            name = f"PatientID_{number:04d}_Timepoint_1"
            copy(path, folder / "MU" / f"PatientID_{number:04d}" / "Timepoint_1" / f"{name}_{MU[kind]}.nii.gz")
    write_maps(folder / "my-maps", folder / "BraTS2018")
    write_boxes(folder)
    return folder


def write_maps(folder: Path, data: Path) -> None:
    """Write random maps of every test slice and subset, as another program might."""
    import numpy as np

    from anyadbench.cells.stores import open_stores
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.protocols import find_protocol
    from anyadbench.sequences import format_subset

    protocol = find_protocol("brats-7subsets")
    prepared = ProtocolData(protocol, open_stores(protocol, {"brats2018": data}, lambda done, total, text: None))
    (test,) = protocol.tests
    rows = np.concatenate(prepared.test_indices(test))
    store = prepared.stores["brats2018"]
    present = prepared.reader("brats2018").present(rows)
    for subset in protocol.subsets:
        served = present[:, [protocol.sequences.index(name) for name in subset]].all(axis=1)
        for row in rows[served]:
            entry = store.slices.iloc[int(row)]
            path = folder / format_subset(subset) / str(entry["scan"]) / f"{entry['slice']}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.random.default_rng(int(row)).random(store.shape, dtype=np.float32))


def write_boxes(folder: Path) -> None:
    """Write maps of three pictures and a table of their boxes."""
    import numpy as np

    (folder / "box-maps").mkdir()
    for number in range(3):
        np.save(folder / "box-maps" / f"case{number}.npy", np.random.default_rng(number).random((32, 32)))
    lines = [f"case{number}.png,4,6,10,8\n" for number in range(3)]
    (folder / "boxes.csv").write_text("filename,x,y,width,height\n" + "".join(lines))


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def save_array(source: Path, target: Path) -> None:
    """Write a NIfTI file's values in LPS order as an array."""
    import numpy as np

    from anyadbench.data.trees.volume import read_volume

    target.parent.mkdir(parents=True, exist_ok=True)
    np.save(target, read_volume(source).array)
