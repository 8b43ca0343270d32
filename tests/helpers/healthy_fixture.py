"""A store in which some subjects are healthy, with ages, sexes and sites, made from the tiny phantom in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anyadbench.data.store.store import SliceStore

SITES = ("Utrecht", "Singapore")


def with_people(store: SliceStore, healthy: Sequence[str] = ()) -> SliceStore:
    """Return the store with facts on every subject, and without a lesion in the healthy ones."""
    scans, slices = store.scans.copy(), store.slices.copy()
    names = sorted(set(scans["subject"].astype(str)))
    of = scans["subject"].astype(str)
    scans["healthy"] = of.isin(list(healthy)).to_numpy()
    scans["age"] = np.array([30.0 + 5 * names.index(name) for name in of])
    scans["sex"] = ["F" if names.index(name) % 2 else "M" for name in of]
    scans["site"] = [SITES[names.index(name) % 2] for name in of]
    scans.loc[scans["healthy"], "lesion_voxels"] = 0
    own = slices["subject"].astype(str).isin(list(healthy)).to_numpy()
    slices.loc[own, ["lesion_px", "cavity_px"]] = 0
    slices.loc[own, "lesion_distance"] = -1
    masks = np.array(store.masks)
    masks[own] = 0
    return replace(store, scans=scans, slices=slices, masks=masks)
