"""A prediction as files: ``anomaly.nii.gz``, ``mask.nii.gz``, ``prediction.json`` and ``report.html``."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.errors import UserError
from anyadbench.files import explain_os_error, make_folder, write_json, write_text

if TYPE_CHECKING:
    from anyadbench.predict.prediction import Prediction

MAP, MASK, SCORES, REPORT = "anomaly.nii.gz", "mask.nii.gz", "prediction.json", "report.html"

OPTION = "--out"
"""Option that chooses the folder, for the advice when it cannot be written."""


def write_prediction(prediction: Prediction, folder: Path, name: str, request: str = "") -> None:
    """Write one patient's files; ``prediction.json`` is completed last, so that its presence confirms the others.

    Args:
        prediction: What to write.
        folder: Created if missing; only files of an earlier prediction are replaced.
        name: The patient, for the report's title.
        request: Hash of the request, by which a batch recognises a finished patient.

    Raises:
        UserError: If the folder cannot be written, or contains files of these names that are not a prediction's.
    """
    from anyadbench.predict.report import report_html

    check_folder(folder)
    report = report_html(prediction, name)
    make_folder(folder, OPTION)
    # Marked, not removed: if this stopped half way, the next run could not recognise the files as its own.
    write_json(folder / SCORES, {"unfinished": True, "request": ""}, OPTION)
    _write_image(folder / MAP, prediction.map, prediction)
    if prediction.mask is None:
        (folder / MASK).unlink(missing_ok=True)
    else:
        _write_image(folder / MASK, prediction.mask.astype(np.uint8), prediction)
    write_text(folder / REPORT, report, OPTION)
    write_json(folder / SCORES, {**prediction.as_json(), "patient": name, "request": request}, OPTION)


def check_folder(folder: Path) -> None:
    """Check that only an earlier prediction would be replaced: a brain mask is often named ``mask.nii.gz`` too.

    Raises:
        UserError: If the folder has a file with a prediction's name but no ``prediction.json`` of this program.
    """
    there = [name for name in (MAP, MASK, REPORT, SCORES) if (folder / name).exists()]
    if there and "request" not in read_scores(folder):
        raise UserError(
            f"{folder / there[0]} was not written by 'anyadbench predict' and would be replaced; give another --out "
            "folder, or move the file."
        )


def read_scores(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's ``prediction.json``; empty if it is missing or invalid."""
    try:
        found = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_image(path: Path, array: np.ndarray, prediction: Prediction) -> None:
    image = _image(array, prediction)
    temporary = path.with_name(f".{path.name.removesuffix('.nii.gz')}.tmp.nii.gz")
    try:
        nibabel.loadsave.save(image, temporary)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain_os_error(error, path, OPTION) from None


def _image(array: np.ndarray, prediction: Prediction) -> Any:
    """Return an image on the first input's grid, with its qform, sform and their codes if it is a NIfTI file."""
    if prediction.header is None:
        image: Any = nibabel.nifti1.Nifti1Image(array, prediction.affine)  # type: ignore[no-untyped-call]
        image.set_qform(prediction.affine, code=1)
        image.set_sform(prediction.affine, code=1)
        image.header.set_xyzt_units("mm")
        return image
    header = prediction.header.copy()
    kind: Any = nibabel.nifti2.Nifti2Image if int(header["sizeof_hdr"]) == 540 else nibabel.nifti1.Nifti1Image
    header["descrip"] = b"anyadbench"
    header["cal_min"] = header["cal_max"] = 0
    header.extensions.clear()
    for field in {"data_type", "db_name", "aux_file"} & set(header.keys()):  # may hold the patient's name
        header[field] = b""
    header.set_intent("none")
    image = kind(array, prediction.affine, header)
    image.set_data_dtype(array.dtype)
    image.header.set_slope_inter(1, 0)
    return image
