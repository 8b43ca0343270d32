"""The data of the kit: the smallest phantom, and a copy with everything changed that fitting must not see."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.phantom import PhantomSpec, digest, generate
from anyadbench.data.slices.rules import SliceRules
from anyadbench.data.store.build import find_or_prepare
from anyadbench.data.store.pixels import rewrite
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.files import CACHE
from anyadbench.paths import cache_dir
from anyadbench.protocols.model import Protocol, TestSet

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PROTOCOL = Protocol(
    name="conformance",
    version=1,
    title="Conformance kit",
    sequences=("flair", "t1", "t2"),
    subsets=(
        ("flair",), ("t1",), ("t2",), ("flair", "t1"), ("flair", "t2"), ("t1", "t2"), ("flair", "t1", "t2"),
    ),
    train="phantom",
    tests=(TestSet("phantom", "phantom"),),
    slices=SliceRules(normal_margin=1, min_lesion_px=4, match_height=False),
    weights="package",
    budget="tiny",
    threads=1,
)  # fmt: skip
"""Every subset of three sequences; t1ce is in the store and excluded."""

SCORED = 5
"""Slices that are scored: few, and a number that divides none of the usual batch sizes."""


def tree() -> Path:
    """Return the tree of the smallest phantom; the first time, it is generated in a few seconds."""
    spec = PhantomSpec.tiny(10)
    return generate(cache_dir() / "phantom" / digest(spec), spec, option=CACHE)


def embedded() -> SliceStore:
    """Return the store of the smallest phantom."""
    return find_or_prepare(tree(), "phantom", workers=1)


def data_of(store: SliceStore) -> ProtocolData:
    """Return the protocol's slices with their lists computed, so that nothing opens a file of the store later."""
    data = ProtocolData(PROTOCOL, {"phantom": store})
    data.train_indices()
    data.test_indices(PROTOCOL.tests[0])
    return data


def rewritten(store: SliceStore, folder: Path) -> SliceStore:
    """Return a copy in which everything that fitting must not see is noise; the tables and slice lists stay the same.

    Noise replaces all lesion masks, every slice that is not a training normal, the sequence that the protocol excludes,
    and the values stored for sequences that a scan lacks.
    """
    train = data_of(store).train_indices()
    shutil.copytree(store.path, folder)
    rng = np.random.default_rng(0)
    images, masks = np.array(store.images), np.array(store.masks)
    other = np.setdiff1d(np.arange(len(images)), train)
    images[other] = rng.integers(0, 2**16, images[other].shape, dtype=np.uint16)
    for place, name in enumerate(store.sequences):
        hidden = train if name not in PROTOCOL.sequences else train[~store.present(train, (name,))[:, 0]]
        images[hidden, place] = rng.integers(0, 2**16, images[hidden, place].shape, dtype=np.uint16)
    rewrite(folder, images, rng.integers(0, 4, masks.shape, dtype=np.uint8))
    return open_store(folder)


def scored_values(data: ProtocolData) -> Float[np.ndarray, "B S H W"]:
    """Return test slices that have every sequence, normal and abnormal ones, in the protocol's intensity scale."""
    normals, abnormals = data.test_indices(PROTOCOL.tests[0])
    reader = data.reader("phantom")
    picked = [_complete(data, rows)[:count] for rows, count in ((normals, SCORED // 2), (abnormals, SCORED))]
    values, _ = reader.read(np.concatenate(picked)[:SCORED])
    return values


def _complete(data: ProtocolData, indices: Int[np.ndarray, " N"]) -> Int[np.ndarray, " M"]:
    return indices[data.reader("phantom").present(indices).all(1)]


def with_hidden_rewritten(
    values: Float[np.ndarray, "B S H W"], subset: tuple[str, ...]
) -> Float[np.ndarray, "B S H W"]:
    """Return the slices with every sequence outside ``subset`` replaced by noise of the same range."""
    changed = values.copy()
    rng = np.random.default_rng(len(subset))
    for place, name in enumerate(PROTOCOL.sequences):
        if name not in subset:
            changed[:, place] = rng.random(values[:, place].shape, dtype=np.float32)
    return changed
