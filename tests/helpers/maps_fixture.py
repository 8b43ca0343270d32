"""Maps that a cell kept, as another program would write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_kept_maps(cell: Path, folder: Path) -> Path:
    """Write an array per slice below ``folder`` from a cell that kept all its maps."""
    with np.load(cell / "scores/maps.npz") as data:
        info, maps = json.loads(str(data["info"].item())), data["maps"]
    for r, label in enumerate(info["subsets"]):
        if label == "as available":
            continue
        for k, entry in enumerate(info["slices"]):
            if np.isfinite(maps[k, r]).all():
                target = folder / label / entry["scan"] / f"{entry['slice']}.npy"
                target.parent.mkdir(parents=True, exist_ok=True)
                np.save(target, maps[k, r])
    return folder
