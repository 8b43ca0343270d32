"""Trees of volumes: one 3D image for each sequence of a scan, or one 4D image for all, and a segmentation."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import Layout
from anyadbench.data.trees.problems import BadFile, Problem
from anyadbench.data.trees.reader import TreeReader

if TYPE_CHECKING:
    from anyadbench.data.trees.nifti_scan import Scan
    from anyadbench.data.trees.scan_slices import Part
    from anyadbench.data.trees.volume import Volume


class VolumeReader(TreeReader["Scan"]):
    """Reads trees of volumes in one file format; only ``volume`` depends on the format.

    A scan's volumes are checked against each other, its labels become regions, and it is cut into axial slices.
    """

    @abc.abstractmethod
    def volume(self, path: Path) -> Volume:
        """Return a file's 3D image in LPS order; ``canonical_volume`` makes one of an array.

        Raises:
            BadFile: If the file cannot be used.
        """

    def labels(self, path: Path) -> Volume:
        """Return a file's segmentation as integers from 0 to 255; by default its image, checked and rounded.

        Raises:
            BadFile: As ``volume``, or if labels are fractional, negative or above 255.
        """
        from anyadbench.data.trees.volume import whole_labels

        return whole_labels(self.volume(path))

    def channels(self, path: Path, names: Sequence[str]) -> Mapping[str, Volume]:
        """Return the sequences of a 4D file by name; needed only for layouts with ``channels``.

        Raises:
            BadFile: As ``volume``, or if the format has no such images.
        """
        cause = f"should hold {', '.join(names)} in one image, which the tree reader {self.name} does not read"
        raise BadFile(path, cause, "give one file for each sequence")

    def read_scan(self, files: ScanFiles, layout: Layout) -> tuple[Scan | None, list[Problem]]:
        """Read and check the volumes of one scan."""
        from anyadbench.data.trees.nifti_scan import read_scan

        return read_scan(files, layout, self)

    def cut(self, content: Scan, layout: Layout) -> Part:
        """Cut a scan into its axial slices with some brain."""
        from anyadbench.data.trees.scan_slices import nifti_part

        return nifti_part(content, layout)


class NiftiReader(VolumeReader):
    """Reads NIfTI-1 and NIfTI-2, packed or not, in one file or as pairs of ``.hdr`` and ``.img``."""

    name = "nifti"
    suffixes: tuple[str, ...] = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
    for_prediction = True

    def volume(self, path: Path) -> Volume:
        """Return a 3D NIfTI file as a volume."""
        from anyadbench.data.trees.volume import read_volume

        return read_volume(path)

    def channels(self, path: Path, names: Sequence[str]) -> Mapping[str, Volume]:
        """Return the volumes along the last axis of a 4D NIfTI file."""
        from anyadbench.data.trees.volume import read_channels

        return read_channels(path, names)


NIFTI = NiftiReader()
"""The reader that layouts call ``nifti``."""
