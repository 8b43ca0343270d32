"""Descriptors of the baselines and of AnyAD stay light."""

from __future__ import annotations

import subprocess
import sys


def test_descriptors_import_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, anyadbench_anyad.descriptors, anyadbench_baselines.descriptors;"
        "print(sorted({'torch', 'timm', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
