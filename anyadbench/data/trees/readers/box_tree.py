"""Trees of pictures whose lesions are marked by boxes: verified, but never prepared as a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import Match, ScanFiles, Survey
from anyadbench.data.trees.grouping import group_by_scan
from anyadbench.data.trees.layouts import FOUR_D
from anyadbench.data.trees.problems import BadFile, Problem
from anyadbench.data.trees.reader import TreeReader
from anyadbench.data.trees.readers.boxes import Box, outside, read_boxes
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.scan_slices import Part

TABLE = "bboxes_gold.csv"


@dataclass(frozen=True)
class Picture:
    """One picture: its boxes, and the hash of its pixels."""

    boxes: tuple[Box, ...]
    hashes: Mapping[str, str]


class BoxReader(TreeReader[Picture]):
    """Reads pictures and their table of boxes."""

    name = "boxes"
    suffixes = (".png",)

    def find(self, matches: Sequence[Match], layout: Layout, root: Path) -> Survey:
        """Take each picture as a scan, and report boxes without a picture."""
        boxes = read_boxes(_table(root))
        scans, problems = [], []
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
            shape, sha = _look(path)
        except BadFile as bad:
            return None, [Problem(files.relative(path), bad.cause, bad.fix, scan=files.scan)]
        boxes = read_boxes(_table(files.root)).get(path.stem)
        if boxes is None:
            cause = f"is not listed in {TABLE}"
            return None, [Problem(files.relative(path), cause, "add it, or remove the picture", scan=files.scan)]
        if (wrong := outside(boxes, shape)) is not None:
            cause = f"has {shape[1]} x {shape[0]} pixels, and a box at {wrong} that does not lie inside"
            return None, [Problem(files.relative(path), cause, "use the picture at its original size", scan=files.scan)]
        return Picture(tuple(boxes), {"picture": sha}), []

    def cut(self, content: Picture, layout: Layout) -> Part:
        """Refuse: boxes are no masks.

        Raises:
            UserError: Always.
        """
        raise UserError(
            f"The data set {layout.name} has boxes instead of masks, so no store can be made of it; score maps of its "
            "pictures with 'anyadbench score-boxes'."
        )


BOXES = BoxReader()
"""The reader that layouts call ``boxes``."""


def _table(root: Path) -> Path:
    path = next((found for folder in (root, root.parent) if (found := folder / TABLE).is_file()), None)
    if path is None:
        raise UserError(f"{root} has no {TABLE}; download it with the pictures and put it beside their folder.")
    return path


def _look(path: Path) -> tuple[tuple[int, int], str]:
    """Return a picture's height and width, and the hash of its grey values."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    from anyadbench.data.trees.nifti_scan import hash_array

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            grey = np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadFile(path, "is damaged or not a PNG", "download it again") from error
    return (int(grey.shape[0]), int(grey.shape[1])), hash_array(grey)
