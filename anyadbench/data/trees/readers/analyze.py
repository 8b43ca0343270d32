"""Analyze 7.5 pairs of a release whose axes are known."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from nibabel.spatialimages import HeaderDataError

from anyadbench.data.trees.nifti_file import partner, unpacked
from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.volume import Volume, canonical_volume


def read_analyze(header: Path) -> Volume:
    """Read a pair, from its header, as a 3D image in LPS order.

    The format stores voxel sizes but no axes; the first is taken from right to left, the second from posterior to
    anterior, the third from inferior to superior (radiological storage, nibabel's default).

    Raises:
        BadFile: If a file is missing or damaged, or the pair is not one 3D image.
    """
    other = partner(header)
    if other is None:
        raise BadFile(header, "is the .hdr file of a pair whose .img file is missing", "give both, in one folder")
    holders = {
        "header": FileHolder(fileobj=io.BytesIO(unpacked(header))),
        "image": FileHolder(fileobj=io.BytesIO(unpacked(other))),
    }
    try:
        pair: Any = nibabel.analyze.AnalyzeImage
        image = pair.from_file_map(holders)
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError, ValueError, OverflowError, OSError, EOFError) as error:
        text = " ".join(str(error).split())[:160]
        raise BadFile(header, f"cannot be read as an Analyze pair ({text})", "copy or download it again") from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return canonical_volume(header, array, np.array(image.affine, np.float64))
