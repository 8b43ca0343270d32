"""Reading DICOM series, if the extra ``dicom`` (SimpleITK) is installed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.dicom_frames import Frame, frames_of
from anyadbench.data.trees.readers.dicom_header import START, Header, begins_as_dicom, read_header
from anyadbench.errors import UserError
from anyadbench.names import is_junk, plain_path, readable
from anyadbench.predict.series.pictures import DCM2NIIX, check_pictures, scale
from anyadbench.predict.series.stack import Place, pixel_size, shown, stack_of

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_POSITION, _ORIENTATION, _SPACING = 0x00200032, 0x00200037, 0x00280030
_THICKNESS, _BETWEEN = 0x00180050, 0x00180088
_IMAGE_TYPE, _SERIES, _MODALITY, _B_VALUE = 0x00080008, 0x0020000E, 0x00080060, 0x00189087


def read_series(folder: Path, member: Path | None = None, said: Callable[[str], object] = lambda text: None) -> Any:
    """Return the one DICOM series in a folder as a NIfTI image; compressed and rescaled files are decoded.

    ``member`` is a file of the wanted series, where the folder has several. Damaged files beside it are then left out,
    because nothing shows that they belong to the series; ``said`` is called with a predicate about that.

    Raises:
        UserError: If SimpleITK is not installed, the folder contains no series, several, or a damaged one, or its
            slices are not one evenly spaced stack.
    """
    itk = _itk(folder)
    with plain_path(folder) as plain:
        return _read(itk, folder, plain, member, said)


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
        return files, stack_of(folder, _frame_places(frames)).order
    return files, stack_of(folder, _places(headers)).order


def read_tags(path: Path, wanted: Sequence[str]) -> dict[str, str] | None:
    """Return those of the wanted tags (``0008|0060``) that a DICOM file has; ``None`` if it has no image.

    Raises:
        UserError: If SimpleITK is not installed.
        ValueError: If its header cannot be read; it names the cause.
    """
    _itk(path.parent)
    header = read_header(path)
    if header is None:
        return None
    found = {tag: _text(header, int(tag.replace("|", ""), 16)) for tag in wanted}
    return {tag: text for tag, text in found.items() if text}


def _text(header: Header, tag: int) -> str:
    """Return an element as text; the b-value is stored as a binary number."""
    value = header.items.get(tag)
    if tag == _B_VALUE and isinstance(value, bytes) and len(value) == 8:
        return f"{struct.unpack('<d', value)[0]:g}"
    return header.text(tag)


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


def _read(itk: Any, folder: Path, plain: str, member: Path | None, said: Callable[[str], object]) -> Any:
    headers = _headers(folder, Path(plain), member, said)
    names = list(headers)
    frames = frames_of(headers[names[0]]) if len(names) == 1 else []
    check_pictures(folder, headers, len(frames))
    if len({scale(folder, frame.slope, frame.intercept) for frame in frames}) > 1:
        raise BadFile(folder, "has frames with different rescale slopes or intercepts", DCM2NIIX)
    places = _frame_places(frames) if frames else _places(headers)
    stack = stack_of(folder, places)
    affine = stack.affine(pixel_size(folder, places))
    try:
        pictures = _decoded(itk, names[0]) if frames else [_one(_decoded(itk, name)) for name in names]
    except RuntimeError as error:
        cause = (str(error).strip().splitlines() or ["no reason given"])[-1][:200]
        raise BadFile(folder, f"cannot be read as a DICOM series ({cause})", "copy the series again") from None
    if len(pictures) != len(places) or any(picture.ndim != 2 for picture in pictures):
        raise BadFile(folder, "contains no series of single grey-value slices", "give a 3D series")
    # Every file on its own scale and of its own type: SimpleITK's reader of a series gives all those of the first.
    return _image(np.stack([pictures[index] for index in stack.order]), affine)


def _decoded(itk: Any, name: str) -> np.ndarray:
    """Return the pixels of a file, rescaled."""
    reader = itk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")  # it is known to be DICOM, even if it has no preamble
    reader.SetFileName(name)
    image: np.ndarray = itk.GetArrayFromImage(reader.Execute())
    return image


def _one(array: np.ndarray) -> np.ndarray:
    """Return the one picture of a file of one frame."""
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _image(array: Shaped[np.ndarray, "z y x"], affine: Float[np.ndarray, "4 4"]) -> Any:
    whole = array.dtype.kind in "iu" and array.max() <= np.iinfo(np.int32).max
    with np.errstate(over="ignore"):  # an infinite value is refused with its file's name
        turned = array.transpose(2, 1, 0).astype(np.int32 if whole else np.float32)
    return nibabel.nifti1.Nifti1Image(turned, _TO_RAS @ affine)  # type: ignore[no-untyped-call]


def _readable(folder: Path, plain: Path) -> tuple[dict[str, Header], dict[Path, str]]:
    """Return the headers of the files with pixels, and the names of the damaged files with their causes."""
    found: dict[str, Header] = {}
    damaged: dict[Path, str] = {}
    for path in sorted(plain.iterdir()):
        if is_junk(path.name) or not path.is_file():
            continue
        try:
            header = read_header(path)
        except ValueError as error:
            name = path.name if plain == folder else path.resolve().name
            damaged[path.resolve()] = f"{readable(name)} ({error})"
            continue
        if header is not None:
            found[str(path)] = header
    return found, damaged


def _headers(
    folder: Path, plain: Path, member: Path | None, said: Callable[[str], object] = lambda text: None
) -> dict[str, Header]:
    """Return the headers of the one series in a folder by path; files without pixels are left out.

    Raises:
        BadFile: If there is no series, several, one of another modality than MR, a mosaic, or a damaged file.
    """
    found, damaged = _readable(folder, plain)
    series = {header.text(_SERIES) for header in found.values()}
    same = plain if member is None else member.resolve()  # in the folder of links, it has another name
    if member is not None:
        series &= {header.text(_SERIES) for name, header in found.items() if Path(name).resolve() == same}
        found = {name: header for name, header in found.items() if header.text(_SERIES) in series}
    if damaged and (member is None or not series):
        name = damaged.get(same) or next(iter(damaged.values()))
        raise BadFile(folder, f"contains the damaged file {name}", "copy the series again")
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        said(
            f"lies beside the damaged file {next(iter(damaged.values()))}{more}, whose series is unknown and which is "
            "left out"
        )
    if len(series) != 1:
        many = f"{len(series)} DICOM series" if series else f"no DICOM series{_misnamed(plain)}"
        fix = "give the folder of one series, or a file of it"
        raise BadFile(folder, f"contains {many}, but one is needed", fix)
    for name, header in found.items():
        if (modality := header.text(_MODALITY)) not in ("", "MR"):
            raise BadFile(folder, f"is a series of the modality {modality[:8]}", "give an MR series")
        if "MOSAIC" in header.text(_IMAGE_TYPE).upper().split("\\"):
            cause = f"contains the mosaic {Path(name).name}: all slices of a volume in one picture"
            raise BadFile(folder, cause, DCM2NIIX)
    return found


def _misnamed(folder: Path) -> str:
    """Return a file that is DICOM by its name alone, as an aside."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".dcm", ".ima") and path.is_file() and not is_junk(path.name):
            with path.open("rb") as file:
                if not begins_as_dicom(file.read(START)):
                    return f" ({shown(path.name)} has neither a preamble nor the class of a DICOM object)"
    return ""


def _places(headers: dict[str, Header]) -> list[Place]:
    return [
        Place(
            header.text(_POSITION),
            header.text(_ORIENTATION),
            header.text(_SPACING),
            header.text(_THICKNESS) or header.text(_BETWEEN),
        )
        for header in headers.values()
    ]


def _frame_places(frames: list[Frame]) -> list[Place]:
    return [Place(frame.position, frame.orientation, frame.spacing, frame.thickness) for frame in frames]
