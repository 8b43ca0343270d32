"""Reading DICOM series, if the extra ``dicom`` (SimpleITK) is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.dicom_frames import Frame, frames_of
from anyadbench.data.trees.readers.dicom_header import Header, read_header
from anyadbench.errors import UserError
from anyadbench.names import is_junk, plain_path

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

STEP_SHARE, STEP_MM = 0.01, 0.05
"""Largest difference between slice steps: this share of the step or this many mm, whichever is larger."""

_POSITION, _ORIENTATION, _IMAGE_TYPE, _SERIES = 0x00200032, 0x00200037, 0x00080008, 0x0020000E
_MODALITY = 0x00080060

_DCM2NIIX = "convert it to NIfTI, for example with dcm2niix"


def read_series(folder: Path, member: Path | None = None) -> Any:
    """Return the one DICOM series in a folder as a NIfTI image; compressed and rescaled files are decoded.

    ``member`` is a file of the wanted series, where the folder has several.

    Raises:
        UserError: If SimpleITK is not installed, the folder contains no series, several, or a damaged one, or its
            slices are not one evenly spaced stack.
    """
    itk = _itk(folder)
    with plain_path(folder) as plain:
        return _read(itk, folder, plain, member)


def series_stack(path: Path) -> tuple[list[Path], list[int]]:
    """Return the files of a series, and for each slice of ``read_series`` the number of its file or frame.

    Args:
        path: The folder of one series, or a file of it. An enhanced series is one file with a frame for each slice.

    Raises:
        UserError: As ``read_series``.
    """
    folder, member = (path, None) if path.is_dir() else (path.parent, path)
    headers = _headers(folder, folder, member)
    files = [Path(name) for name in headers]
    frames = frames_of(headers[str(files[0])]) if len(files) == 1 else []
    if frames:
        return files, _stack(folder, [(frame.position, frame.orientation) for frame in frames])[0]
    return files, _stack(folder, _places(headers))[0]


def read_tags(path: Path, wanted: Sequence[str]) -> dict[str, str]:
    """Return those of the wanted tags (``0008|0060``) that a DICOM file has; empty if its header cannot be read.

    Raises:
        UserError: If SimpleITK is not installed.
    """
    _itk(path.parent)
    try:
        header = read_header(path)
    except ValueError:
        return {}
    found = {} if header is None else {tag: header.text(int(tag.replace("|", ""), 16)) for tag in wanted}
    return {tag: text for tag, text in found.items() if text}


def _itk(folder: Path) -> Any:
    try:
        itk: Any = import_module("SimpleITK")
    except ImportError:
        raise UserError(
            f"{folder} is a folder, but reading DICOM needs SimpleITK: run 'pip install anyadbench[dicom]', or give a "
            ".nii or .nii.gz file."
        ) from None
    itk.ProcessObject.GlobalWarningDisplayOff()  # its warnings are less clear than the sentences here
    return itk


def _read(itk: Any, folder: Path, plain: str, member: Path | None) -> Any:
    reader = itk.ImageSeriesReader()
    headers = _headers(folder, Path(plain), member)
    names = list(headers)
    try:
        if len(names) == 1 and (frames := frames_of(headers[names[0]])):
            return _enhanced(itk, folder, names[0], frames)
        order, lean = _stack(folder, _places(headers))
        reader.SetFileNames([names[index] for index in order])
        image = reader.Execute()
    except RuntimeError as error:
        cause = (str(error).strip().splitlines() or ["no reason given"])[-1][:200]
        raise BadFile(folder, f"cannot be read as a DICOM series ({cause})", "copy the series again") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise BadFile(folder, "contains no series of single grey-value slices", "give a 3D series")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    if lean is not None:  # a tilted gantry: SimpleITK drops the sideways part of the step
        affine[:3, 2] = lean
    return _image(itk.GetArrayFromImage(image), affine)


def _image(array: Shaped[np.ndarray, "z y x"], affine: Float[np.ndarray, "4 4"]) -> Any:
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    turned = array.transpose(2, 1, 0).astype(kind)
    return nibabel.nifti1.Nifti1Image(turned, _TO_RAS @ affine)  # type: ignore[no-untyped-call]


def _headers(folder: Path, plain: Path, member: Path | None) -> dict[str, Header]:
    """Return the headers of the one series in a folder by path; files without pixels are left out.

    Raises:
        BadFile: If there is no series, several, one of another modality than MR, a mosaic, or a damaged file.
    """
    found: dict[str, Header] = {}
    for path in sorted(plain.iterdir()):
        if is_junk(path.name) or not path.is_file():
            continue
        try:
            header = read_header(path)
        except ValueError as error:
            raise BadFile(folder, f"contains the damaged file {path.name} ({error})", "copy the series again") from None
        if header is not None:
            found[str(path)] = header
    series = {header.text(_SERIES) for header in found.values()}
    if member is not None:
        series &= {header.text(_SERIES) for name, header in found.items() if Path(name).name == member.name}
        found = {name: header for name, header in found.items() if header.text(_SERIES) in series}
    if len(series) != 1:
        many = f"{len(series)} DICOM series" if series else "no DICOM series"
        fix = "give the folder of one series, or a file of it"
        raise BadFile(folder, f"contains {many}, but one is needed", fix)
    for name, header in found.items():
        if (modality := header.text(_MODALITY)) not in ("", "MR"):
            raise BadFile(folder, f"is a series of the modality {modality[:8]}", "give an MR series")
        if "MOSAIC" in header.text(_IMAGE_TYPE).upper().split("\\"):
            cause = f"contains the mosaic {Path(name).name}: all slices of a volume in one picture"
            raise BadFile(folder, cause, _DCM2NIIX)
    return found


def _places(headers: dict[str, Header]) -> list[tuple[str, str]]:
    return [(header.text(_POSITION), header.text(_ORIENTATION)) for header in headers.values()]


def _enhanced(itk: Any, folder: Path, name: str, frames: list[Frame]) -> Any:
    """Return the volume of an enhanced file: its frames in the order of their positions.

    Raises:
        BadFile: If the frames are not one evenly spaced stack of grey values on one scale.
    """
    if len({(frame.slope, frame.intercept) for frame in frames}) > 1:
        raise BadFile(folder, "has frames with different rescale slopes or intercepts", _DCM2NIIX)
    order, _ = _stack(folder, [(frame.position, frame.orientation) for frame in frames])
    reader = itk.ImageFileReader()
    reader.SetFileName(name)
    image = reader.Execute()
    array = itk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() != 1 or array.ndim != 3 or len(array) != len(frames):
        raise BadFile(folder, "contains no series of single grey-value slices", "give a 3D series")
    try:
        down, across = _numbers(frames[0].spacing, 2)
        axes = np.array(_numbers(frames[0].orientation, 6))
        points = np.array([_numbers(frames[index].position, 3) for index in order])
    except ValueError:
        cause = "has frames without a pixel size, direction or position"
        raise BadFile(folder, cause, "export the series again with its geometry") from None
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[:3] * across, axes[3:] * down
    steps = len(points) - 1
    affine[:3, 2] = (points[-1] - points[0]) / steps if steps else np.cross(axes[:3], axes[3:])
    affine[:3, 3] = points[0]
    return _image(array[order], affine)


def _stack(folder: Path, tags: list[tuple[str, str]]) -> tuple[list[int], np.ndarray | None]:
    """Return the order of a series' files along the normal of their slices, and their step if it leans against it.

    SimpleITK treats any list of files as an even stack: it would stretch a series with a gap over the gap, and
    interleave two acquisitions.

    Raises:
        BadFile: If slices have no position, differ in direction, share a position, or have uneven steps.
    """
    if len(tags) < 2:  # one file of many frames contains its own geometry
        return [0], None
    try:
        points = np.array([_numbers(position, 3) for position, _ in tags])
        axes = np.array([_numbers(orientation, 6) for _, orientation in tags])
    except ValueError:
        cause = "has slices without a position (ImagePositionPatient, ImageOrientationPatient)"
        raise BadFile(folder, cause, "export the series again with its geometry") from None
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise BadFile(folder, "holds slices of several directions", "give the folder of one stack of parallel slices")
    normal = np.cross(axes[0, :3], axes[0, 3:])
    if np.linalg.norm(normal) < 0.5:
        cause = "has slices without a direction (ImageOrientationPatient)"
        raise BadFile(folder, cause, "export the series again with its geometry")
    normal /= np.linalg.norm(normal)
    order = np.argsort(points @ normal, kind="stable")
    moves = np.diff(points[order], axis=0)
    steps = moves @ normal
    same = int((steps < STEP_MM).sum())
    if same:
        cause = f"contains {same} slices at the position of another slice (copies, or several acquisitions)"
        raise BadFile(folder, cause, "give the folder of one complete volume")
    step = float(np.median(steps))
    slack = max(STEP_SHARE * step, STEP_MM)
    worst = int(np.argmax(np.abs(steps - step)))
    if abs(steps[worst] - step) > slack:
        cause = f"has two neighbouring slices {steps[worst]:.4g} mm apart, while others are {step:.4g} mm apart"
        raise BadFile(folder, cause, "copy the series again if slices are missing, or give an evenly spaced one")
    mean = moves.mean(axis=0)
    if np.linalg.norm(moves - mean, axis=1).max() > slack:
        cause = "has slices that are shifted sideways relative to each other"
        raise BadFile(folder, cause, "resample it to a straight stack, or give another series")
    leans = np.linalg.norm(mean - (mean @ normal) * normal) > slack
    return [int(index) for index in order], mean if leans else None


def _numbers(text: str, count: int) -> list[float]:
    values = [float(part) for part in text.split("\\")]
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(text)
    return values
