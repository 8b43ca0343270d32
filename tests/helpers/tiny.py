"""The protocol of the tiny phantom."""

from __future__ import annotations

from pathlib import Path

TINY_PROTOCOL = """
name = "tiny"
version = 1
title = "Tiny phantom"
sequences = ["flair", "t1", "t2"]
weights = "package"
budget = "tiny"
threads = 1

[train]
dataset = "phantom"

[slices]
normal_margin = 1
min_lesion_px = 4
match_height = false

[[test]]
name = "phantom"
dataset = "phantom"
"""

VOLUME_PROTOCOL = TINY_PROTOCOL.replace(
    "[[test]]", "[split]\ntrain = 0.4\nvalidation = 0.1\ntest = 0.5\n\n[scoring]\nvolumes = true\n\n[[test]]"
)
"""The same, scoring whole scans of five of ten subjects."""


def scan_path(tree: Path, scan: str, name: str) -> Path:
    """Return the file of a sequence in a phantom's tree."""
    return tree / "HGG" / scan / f"{scan}_{name}.nii.gz"
