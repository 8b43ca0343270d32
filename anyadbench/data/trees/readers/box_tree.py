"""Trees of pictures whose lesions are marked by boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.encoding import fit_coding
from anyadbench.data.trees.files import Match, ScanFiles, Survey
from anyadbench.data.trees.grouping import group_by_scan
from anyadbench.data.trees.layouts import FOUR_D
from anyadbench.data.trees.problems import BadFile, Problem
from anyadbench.data.trees.reader import TreeReader
from anyadbench.data.trees.readers.boxes import Box, boxes_and_notes, outside, read_boxes
from anyadbench.data.trees.scan_slices import Part, sequence_columns
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from anyadbench.data.trees.layouts import Layout

TABLE = "bboxes_gold.csv"


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture: its number within the case, its boxes, its grey values and their hash."""

    number: int
    boxes: tuple[Box, ...]
    grey: UInt8[np.ndarray, "H W"]
    hashes: Mapping[str, str]


class BoxReader(TreeReader[Picture]):
    """Reads pictures and their table of boxes."""

    name = "boxes"
    suffixes = (".png",)
    version = 1

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Take each picture as a scan, and report boxes without a picture."""
        boxes, notes = boxes_and_notes(_table(root))
        scans = []
        problems = [Problem(TABLE, note, "keep one of the lines", "warning") for note in notes]
        for item in group_by_scan(matches):
            (path, *more) = item.files[FOUR_D]
            scans.append(ScanFiles(item.scan, item.subject, "", {"picture": path}, None, root))
            if more:
                cause = f"and {more[0].relative_to(root).as_posix()} are both the picture {item.scan}"
                problems.append(Problem(path.relative_to(root).as_posix(), cause, "keep one of them", scan=item.scan))
        known = {scan.files["picture"].stem for scan in scans}
        lost = sorted(set(boxes) - known)
        if lost:
            cause = f"lists {len(lost)} pictures that are not there, such as {lost[0]}"
            problems.append(Problem(TABLE, cause, "download the missing pictures", "warning"))
        return Survey(scans, problems)

    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Picture | None, list[Problem]]:
        """Read a picture and check that its boxes lie inside."""
        path = files.files["picture"]
        try:
            grey, sha = _look(path)
        except BadFile as bad:
            return None, [Problem(files.relative(path), bad.cause, bad.fix, scan=files.scan)]
        boxes = read_boxes(_table(files.root)).get(path.stem)
        if boxes is None:
            cause = f"is not listed in {TABLE}"
            return None, [Problem(files.relative(path), cause, "add it, or remove the picture", scan=files.scan)]
        shape = (int(grey.shape[0]), int(grey.shape[1]))
        if (wrong := outside(boxes, shape)) is not None:
            cause = f"has {shape[1]} x {shape[0]} pixels, and a box at {wrong} that does not lie inside"
            return None, [Problem(files.relative(path), cause, "use the picture at its original size", scan=files.scan)]
        return Picture(_number(files.scan), tuple(boxes), grey, {"picture": sha}), []

    def cut(self, content: Picture, layout: Layout) -> Part:
        """Return the picture as one slice, stored as each sequence that the layout's ``channels`` name.

        Which sequence a picture shows is unknown, so protocols can show it in any of these slots. It has no mask.
        """
        grey = content.grey
        images = np.repeat(grey[None, None].astype(np.uint16), len(layout.channels), axis=1)
        row: dict[str, Any] = {"spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0, "lesion_voxels": 0}
        for name in layout.channels:
            row |= sequence_columns(name, grey, fit_coding(grey), content.hashes["picture"])
        item = {
            "slice": content.number, "height_mm": 0.0, "brain": float((grey > 0).mean()), "lesion_px": 0,
            "cavity_px": 0, "lesion_distance": 0 if content.boxes else -1,
            "part": "test/abnormal" if content.boxes else "test/normal",
        }  # fmt: skip
        masks = np.zeros((1, *grey.shape), np.uint8)
        return Part(layout.channels, images, masks, row, [item], content.hashes, (content.boxes,))


BOXES = BoxReader()
"""The reader that layouts call ``boxes``."""


def _table(root: Path) -> Path:
    path = next((found for folder in (root, root.parent) if (found := folder / TABLE).is_file()), None)
    if path is None:
        raise UserError(f"{root} has no {TABLE}; download it with the pictures and put it beside their folder.")
    return path


def _number(scan: str) -> int:
    """Return the number at the end of a picture's name."""
    found = re.search(r"(\d{1,9})$", scan)
    return int(found[1]) if found else 0


def _look(path: Path) -> tuple[UInt8[np.ndarray, "H W"], str]:
    """Return a picture's grey values and their hash."""
    from anyadbench.data.trees.nifti_scan import hash_array
    from anyadbench.data.trees.png import read_png

    grey = read_png(path, grey_rgb=True)
    return grey, hash_array(grey)
