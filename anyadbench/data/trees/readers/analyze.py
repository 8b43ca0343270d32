"""Analyze 7.5 pairs of a release whose axes are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from anyadbench.data.trees.nifti_file import decode, partner, quiet, unpacked
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.nifti_header import check_place, check_sizes, checked_values, header_size, parsed
from anyadbench.data.trees.volume import Volume, canonical_volume, read_volume


def read_analyze(header: Path) -> Volume:
    """Read a pair, from its header, as a 3D image in LPS order.

    The format stores voxel sizes but no axes; the first is taken from right to left, the second from posterior to
    anterior, the third from inferior to superior (radiological storage, nibabel's default). A pair that was converted
    to NIfTI has axes of its own, which count.

    Raises:
        BadFile: If a file is missing or damaged, or the pair is not one 3D image.
    """
    other = partner(header)
    if other is None:
        raise BadFile(header, "is the .hdr file of a pair whose .img file is missing", "give both, in one folder")
    head, pixels = unpacked(header), unpacked(other)
    if header_size(head) != 348 or len(head) < 348:
        cause = f"is no Analyze header ({len(head)} bytes, of which the first four should say 348)"
        raise BadFile(header, cause, "copy or download it again")
    if head[344:346] in (b"n+", b"ni"):
        return read_volume(header)
    notes: list[str] = []
    with quiet():
        fields = parsed(head, analyze=True)
        values = checked_values(header, fields, notes)
        check_sizes(header, fields, notes, needed=True)
        check_place(other, fields, notes, values, len(pixels), 0)
        kind: Any = nibabel.analyze.AnalyzeImage
        image, array = decode(header, kind, fields.binaryblock, pixels)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return replace(canonical_volume(header, array, np.array(image.affine, np.float64)), notes=tuple(notes))
