"""Comparing the rivals with a copy of the authors' numbers, whole or after a planted mistake."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from places import FIXTURES

from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.testing.parity import ParityReport, run_parity

FOLDER = FIXTURES / "parity-rivals"
"""The smaller fixtures with a part of their entries."""

SHARED = Path(os.environ.get("ANYADBENCH_SHARED", "missing")) / "parity-rivals"
"""All fixtures, where this machine has them."""


def report_of(tmp_path: Path, descriptors: list[MethodDescriptor], *names: str, source: Path = FOLDER) -> ParityReport:
    """Compare the named fixtures of a folder."""
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["fixtures"] = {name: manifest["fixtures"][name] for name in names}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for name in names:
        for suffix in (".names.json", ".safetensors"):
            shutil.copyfile(source / f"{name}{suffix}", tmp_path / f"{name}{suffix}")
    return run_parity(tmp_path, descriptors)
