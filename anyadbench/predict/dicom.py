"""DICOM series, where the extra ``dicom`` is installed (SimpleITK)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from anyadbench.data.problems import BadFile
from anyadbench.errors import UserError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_series(folder: Path) -> Any:
    """Return the one DICOM series in a folder as a NIfTI image; compressed and rescaled files are decoded.

    Raises:
        UserError: If SimpleITK is not installed, or the folder holds no series, several, or a damaged one.
    """
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError:
        raise UserError(
            f"{folder} is a folder, and reading DICOM needs SimpleITK: 'pip install anyadbench[dicom]', or give a "
            ".nii or .nii.gz file."
        ) from None
    reader = itk.ImageSeriesReader()
    itk.ProcessObject.GlobalWarningDisplayOff()  # it would print what the sentences below say better
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series" if series else "no DICOM series"
        raise BadFile(folder, f"holds {found} where one is needed", "give the folder of one series")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[-1][:200]
        raise BadFile(folder, f"cannot be read as a DICOM series ({cause})", "copy the series again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise BadFile(folder, "holds no series of single grey-value slices", "give a 3D series")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = itk.GetArrayFromImage(image).transpose(2, 1, 0)
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    return nibabel.nifti1.Nifti1Image(array.astype(kind), _TO_RAS @ affine)  # type: ignore[no-untyped-call]
