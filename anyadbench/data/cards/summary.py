"""What a store holds, in numbers."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.box_table import NAME as BOXES
from anyadbench.hashing import sha256_file
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    import pandas as pd

    from anyadbench.data.store.store import SliceStore
    from anyadbench.data.trees.layouts import Layout

FILES = {
    "images.blosc": "Slices: blocks of unsigned 16-bit integers, compressed by Blosc, one for each sequence of a slice",
    "masks.blosc": "Regions of the slices: blocks of unsigned 8-bit integers, compressed by Blosc",
    "index.npy": "Place of each block, the box that it shows and the value around it; the regions come last",
    "slices.csv": "One line for each slice, in the order of the arrays",
    "scans.csv": "One line for each scan",
    "store.json": "Version, sequences, sizes, regions and hashes of the store",
}
"""The files of a store, and what they hold."""

BOX_FILE = {BOXES: "One line for each box: row of its slice, left, top, width and height in pixels"}
"""A further file where lesions are marked by boxes."""

UNKNOWN = "unknown"


def summarise(store: SliceStore, layout: Layout) -> dict[str, Any]:
    """Return everything that a card of a store says, as plain values.

    Args:
        store: The store; its files are hashed, which reads them once.
        layout: The layout of its data set.

    Returns:
        Names and terms of the data set; counts of subjects, scans and slices, by sequence, site and sex; ages in years;
        volumes of lesions in mL over the scans that have one; sizes in mm; regions; the SHA-256 of each file; and the
        number of boxes, where lesions are marked by boxes.
    """
    scans, slices = store.scans, store.slices
    people = scans.drop_duplicates("subject")
    boxed = sorted(store.boxes or {})
    files = FILES | (BOX_FILE if store.boxes is not None else {})
    left_out = json.loads((store.path / "quarantine.json").read_text(encoding="utf-8"))
    return {
        "dataset": store.dataset,
        "title": layout.title,
        "where": layout.where,
        "licence": layout.licence,
        "citation": layout.citation,
        "notes": layout.notes,
        "content_hash": store.content_hash,
        "subjects": len(people),
        "healthy_subjects": len(store.healthy_subjects),
        "scans": len(scans),
        "scans_with_lesions": int((scans["lesion_voxels"] > 0).sum()) + slices["scan"].iloc[boxed].nunique(),
        "scans_left_out": len({item["scan"] for item in left_out}),
        "slices": len(slices),
        "slices_with_lesions": int((slices["lesion_px"] > 0).sum()) + len(boxed),
        "slices_without_label": int((slices["lesion_distance"] != 0).sum()),
        "sequences": {
            SHORT[name]: {
                "scans": int(scans[f"has_{name}"].sum()),
                "subjects": int(scans.loc[scans[f"has_{name}"] == 1, "subject"].nunique()),
            }
            for name in store.sequences
        },
        "sites": _counted(people["site"]),
        "sexes": _counted(people["sex"]),
        "age": _five([float(age) for age in people["age"] if np.isfinite(age)], len(people)),
        "lesion_ml": _volumes(scans),
        "field": {"height": store.shape[0], "width": store.shape[1]},
        "voxel_mm": {axis: _ends(scans[f"spacing_{axis}"]) for axis in ("z", "y", "x")},
        "files": {
            name: {"what": what, "bytes": (store.path / name).stat().st_size, "sha256": sha256_file(store.path / name)}
            for name, what in files.items()
        },
        **({} if store.boxes is None else {"boxes": sum(map(len, store.boxes.values()))}),
    }


def _counted(values: pd.Series) -> dict[str, int]:
    counts = Counter(str(value) or UNKNOWN for value in values)
    return dict(sorted(counts.items(), key=lambda item: (item[0] == UNKNOWN, item[0])))


def _volumes(scans: pd.DataFrame) -> dict[str, float | int | None]:
    volume = scans["lesion_voxels"] * scans["spacing_x"] * scans["spacing_y"] * scans["spacing_z"] / 1000
    return _five([float(value) for value in volume if value > 0], len(scans))


def _five(values: list[float], of: int) -> dict[str, float | int | None]:
    """Return how many values are known of how many, and their least, quartiles and most; ``None`` if there are none."""
    names = ("least", "first_quartile", "median", "third_quartile", "most")
    ends = np.percentile(values, (0, 25, 50, 75, 100)) if values else [None] * len(names)
    return {
        "known": len(values),
        "of": of,
        **{name: None if end is None else round(float(end), 4) for name, end in zip(names, ends, strict=True)},
    }


def _ends(values: pd.Series) -> dict[str, float]:
    return {"least": round(float(values.min()), 4), "most": round(float(values.max()), 4)}
