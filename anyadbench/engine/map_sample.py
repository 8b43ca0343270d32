"""Maps that a cell keeps: a fixed sample of test subjects, the same for every method."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.engine.settings import KEPT_SLICES, KEPT_SUBJECTS
from anyadbench.files import atomic_file

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from anyadbench.data.store.store import SliceStore
    from anyadbench.protocols.model import TestSet


@dataclass
class MapSample:
    """Collects the maps of the chosen slices and writes ``scores/maps.npz``.

    Attributes:
        policy: ``none``, ``sample`` or ``all``.
        sequences: The protocol's sequences.
        labels: Row labels.
    """

    policy: str
    sequences: tuple[str, ...]
    labels: list[str] = field(default_factory=list)
    _slices: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)

    def choose(
        self,
        test: TestSet,
        store: SliceStore,
        indices: Int[np.ndarray, " N"],
        abnormal: Bool[np.ndarray, " N"],
        present: Bool[np.ndarray, "N S"],
    ) -> None:
        """Choose which slices of a test set to keep.

        ``sample`` takes the first subjects in hash order, those with all sequences before others, and from each the
        slices with the largest and the median lesion and the middle normal slice.
        """
        table = store.slices.iloc[indices]
        chosen = list(range(len(indices))) if self.policy == "all" else []
        if self.policy == "sample":
            chosen = _sample(table["subject"].to_numpy(str), table["lesion_px"].to_numpy(int), abnormal, present)
        for i in chosen:
            entry = table.iloc[i]
            self._slices[test.name, int(indices[i])] = {
                "subject": str(entry["subject"]), "scan": str(entry["scan"]), "slice": int(entry["slice"]),
                "test": test.name, "lesion_px": int(entry["lesion_px"]) if abnormal[i] else 0, "image_scores": {},
            }  # fmt: skip

    def add_slices(
        self,
        test: TestSet,
        indices: Int[np.ndarray, " B"],
        values: Float[np.ndarray, "B S H W"],
        present: Bool[np.ndarray, "B S"],
        masks: Bool[np.ndarray, "B h w"],
    ) -> None:
        """Keep pictures and lesion masks of the chosen slices among ``indices``."""
        import cv2

        height, width = masks.shape[1:]
        for i, index in enumerate(indices):
            kept = self._slices.get((test.name, int(index)))
            if kept is None:
                continue
            pictures = [
                np.clip(values[i, s] / max(1.0, float(values[i, s].max())), 0, 1) for s in range(len(self.sequences))
            ]
            resized = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in pictures]
            kept["image"] = np.round(np.stack(resized) * 255).astype(np.uint8)
            kept["present"], kept["mask"] = present[i].copy(), masks[i].copy()
            kept["maps"] = np.full((len(self.labels), height, width), np.nan, dtype=np.float32)

    def add_maps(
        self,
        test: TestSet,
        label: str,
        indices: Int[np.ndarray, " B"],
        maps: Float[np.ndarray, "B h w"],
        images: Float[np.ndarray, " B"],
    ) -> None:
        """Keep the maps of one row of the board for the chosen slices among ``indices``."""
        for i, index in enumerate(indices):
            kept = self._slices.get((test.name, int(index)))
            if kept is not None:
                kept["maps"][self.labels.index(label)] = maps[i]
                kept["image_scores"][label] = float(images[i])

    def write(self, path: Path) -> None:
        """Write the kept slices; write nothing if there are none."""
        entries = list(self._slices.values())
        if not entries:
            return
        shapes = {entry["mask"].shape for entry in entries}
        if len(shapes) > 1:  # test sets with different grids cannot share one array: keep the first grid's slices
            entries = [entry for entry in entries if entry["mask"].shape == entries[0]["mask"].shape]
        listed = [{k: v for k, v in e.items() if k not in ("image", "present", "mask", "maps")} for e in entries]
        info = {"subsets": self.labels, "sequences": list(self.sequences), "slices": listed}
        with atomic_file(path) as handle:
            np.savez_compressed(
                handle,
                images=np.stack([entry["image"] for entry in entries]),
                present=np.stack([entry["present"] for entry in entries]),
                masks=np.stack([entry["mask"] for entry in entries]),
                maps=np.stack([entry["maps"] for entry in entries]),
                info=np.array(json.dumps(info)),
            )


def _sample(
    subjects: np.ndarray, lesion: np.ndarray, abnormal: Bool[np.ndarray, " N"], present: Bool[np.ndarray, "N S"]
) -> list[int]:
    def rank(subject: str) -> tuple[bool, str]:
        complete = bool(present[subjects == subject].all())
        return not complete, hashlib.sha256(subject.encode()).hexdigest()

    chosen: list[int] = []
    for subject in sorted(set(subjects.tolist()), key=rank)[:KEPT_SUBJECTS]:
        mine = subjects == subject
        by_size = np.flatnonzero(mine & abnormal)
        by_size = by_size[np.argsort(-lesion[by_size], kind="stable")]
        normal = np.flatnonzero(mine & ~abnormal)
        picks = [
            *by_size[:1],
            *by_size[len(by_size) // 2 : len(by_size) // 2 + 1],
            *normal[len(normal) // 2 : len(normal) // 2 + 1],
        ]
        chosen += list(dict.fromkeys(int(i) for i in picks))[:KEPT_SLICES]
    return chosen
