"""The documents, their blocks, and a folder with small trees under the names that they use."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORKED = "\npip install --editable"
"""Documents with this line in them build a package; ``test_docs_packages.py`` follows them step by step."""

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BRATS = {name: name for name in ("flair", "t1", "t1ce", "t2", "seg")}
WARD = {"flair": "flair", "t1": "t1w", "t2": "t2w", "seg": "lesion"}
MSLUB = {"flair": "FLAIR", "t1": "T1", "t2": "T2", "seg": "GOLD_STANDARD"}


def blocks(document: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(document.read_text()) if found == language]


def make_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small trees under the names that the documents use."""
    from anyadbench.data.phantom import PhantomSpec, generate

    folder = tmp_path_factory.mktemp("docs")
    # Slices as thin as the default phantom's: the built-in rules count margins in slices and match heights in mm.
    spec = PhantomSpec("phantom-docs", subjects=10, shape=(48, 48, 62), spacing=(4.5, 4.5, 2.5))
    tree = generate(folder / "phantom", spec)
    for number, scan in enumerate(sorted((tree / "HGG").iterdir()), 1):
        for path in scan.iterdir():
            kind = path.name.removesuffix(".nii.gz").rpartition("_")[2]
            name = f"Brats18_2013_{number}_1"
            copy(path, folder / "BraTS2018" / "HGG" / name / f"{name}_{BRATS[kind]}.nii.gz")
            if kind in WARD:
                copy(path, folder / "ward" / f"W{number:03d}_{WARD[kind]}.nii.gz")
            if kind in MSLUB:
                copy(path, folder / "mslub" / f"patient{number:02d}" / f"{MSLUB[kind]}.nii.gz")
    return folder


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
