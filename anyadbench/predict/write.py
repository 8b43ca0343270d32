"""A prediction as files: map, mask, table of clusters, scores and report."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
import numpy as np

from anyadbench.errors import UserError
from anyadbench.files import json_bytes, make_folder, remove_leftovers, write_json, write_together
from anyadbench.names import readable
from anyadbench.predict.findings.clusters import clusters_csv
from anyadbench.predict.prepare.own_voxels import OwnVoxels, other_files, own_files
from anyadbench.predict.segments.dicom_seg import seg_files, seg_name

if TYPE_CHECKING:
    from anyadbench.predict.prediction import Prediction
    from anyadbench.predict.viewer.subsets import OtherSubsets

MAP, MASK, SCORES, REPORT = "anomaly.nii.gz", "mask.nii.gz", "prediction.json", "report.html"
CLUSTERS = "clusters.csv"

OPTION = "--out"
"""Option that chooses the folder, for the advice when it cannot be written."""


def write_prediction(
    prediction: Prediction,
    folder: Path,
    name: str,
    request: str = "",
    others: OtherSubsets | tuple[()] = (),
    segments: Mapping[str, bytes] | None = None,
) -> None:
    """Write one patient's files, all of them or, where the disk gets full, none.

    ``prediction.json`` gets its name last, so that it says that the others are whole.

    Args:
        prediction: What to write.
        folder: Created if missing; only files of an earlier prediction are replaced.
        name: The patient, for the report's title.
        request: Hash of the request, by which a batch recognises a finished patient.
        others: Predictions from other subsets of the sequences, for the report and ``prediction.json``.
        segments: DICOM segmentations by sequence (``anyadbench.predict.segments.dicom_seg.segmentations``).

    Raises:
        UserError: If the folder cannot be written, or contains files of these names that are not a prediction's.
    """
    from anyadbench.predict.viewer.page import report_html

    check_folder(folder)
    report = report_html(prediction, name, others)
    subsets = others.found if others else []
    files: dict[Path, bytes | Callable[[BinaryIO], object]] = {
        folder / MAP: lambda handle: _write_image(handle, prediction.map, prediction)
    }
    mask = prediction.mask
    if mask is not None:
        files[folder / MASK] = lambda handle: _write_image(handle, mask.astype(np.uint8), prediction)
        files[folder / CLUSTERS] = clusters_csv(prediction.clusters).encode()
    for path, voxels, array in other_files(prediction, folder):
        files[path] = partial(_write_own, voxels=voxels, array=array)
    files.update({folder / seg_name(sequence): data for sequence, data in (segments or {}).items()})
    files[folder / REPORT] = report.encode("utf-8", "backslashreplace")
    names = [path.name for path in files]
    files[folder / SCORES] = json_bytes(
        {**prediction.as_json(), "subsets": subsets, "patient": readable(name), "files": names, "request": request}
    )

    left = [path for path in [*own_files(folder), *seg_files(folder)] if path not in files]

    def mark() -> None:
        # Not removed but marked: if this is interrupted, the next run must still recognise the files as its own.
        write_json(folder / SCORES, {"unfinished": True, "request": ""}, OPTION)
        if mask is None:
            (folder / MASK).unlink(missing_ok=True)
            (folder / CLUSTERS).unlink(missing_ok=True)
        for path in left:
            path.unlink(missing_ok=True)

    make_folder(folder, OPTION)
    remove_leftovers(folder)
    try:
        write_together(files, OPTION, mark)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # only where it is empty
        raise


def check_folder(folder: Path) -> None:
    """Check that only an earlier prediction would be replaced: a brain mask is often named ``mask.nii.gz`` too.

    Raises:
        UserError: If the folder has a file with a prediction's name but no ``prediction.json`` of this program.
    """
    there = [name for name in (MAP, MASK, CLUSTERS, REPORT, SCORES) if (folder / name).exists()]
    there += [path.name for path in [*own_files(folder), *seg_files(folder)]]
    if there and "request" not in read_scores(folder):
        raise UserError(
            f"{folder / there[0]} was not written by 'anyadbench predict' and would be replaced; give another --out "
            "folder, or move the file."
        )


def prediction_files(folder: Path) -> set[Path]:
    """Return the images that an earlier prediction, finished or not, left in a folder."""
    if "request" not in read_scores(folder):
        return set()
    return {folder / MAP, folder / MASK, *own_files(folder), *seg_files(folder)}


def read_scores(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's ``prediction.json``; empty if it is missing or invalid."""
    try:
        found = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_image(handle: BinaryIO, array: np.ndarray, prediction: Prediction) -> None:
    # Without a name and a time in gzip's header, equal maps give equal files.
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as packed:
        _image(array, prediction.affine, prediction.header).to_stream(packed)


def _write_own(handle: BinaryIO, voxels: OwnVoxels, array: np.ndarray) -> None:
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as packed:
        _image(array, voxels.affine, voxels.header).to_stream(packed)


def _image(array: np.ndarray, affine: np.ndarray, own_header: Any) -> Any:
    """Return an image on an input's grid, with its qform, sform and their codes if it is a NIfTI file."""
    if own_header is None:
        image: Any = nibabel.nifti1.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
        image.set_qform(affine, code=1)
        image.set_sform(affine, code=1)
        image.header.set_xyzt_units("mm")
        return image
    header = own_header.copy()
    kind: Any = nibabel.nifti2.Nifti2Image if int(header["sizeof_hdr"]) == 540 else nibabel.nifti1.Nifti1Image
    header["descrip"] = b"anyadbench"
    header["cal_min"] = header["cal_max"] = 0
    header.extensions.clear()
    for field in {"data_type", "db_name", "aux_file"} & set(header.keys()):  # may hold the patient's name
        header[field] = b""
    header.set_intent("none")
    header["xyzt_units"] = int(header["xyzt_units"]) & ~7 | 2  # the affine is in mm, whatever the unit of the input
    image = kind(array, affine, header)
    image.set_data_dtype(array.dtype)
    image.header.set_slope_inter(1, 0)
    return image
