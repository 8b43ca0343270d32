"""What the pictures of a DICOM series hold, checked before SimpleITK decodes them: it guesses where a tag is damaged.

Source: DICOM PS3.3, sections C.7.6.3 (pixels), C.7.6.6 (frames) and C.11.1 (rescaling).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anyadbench.data.trees.problems import BadFile
from anyadbench.data.trees.readers.dicom_header import Header
from anyadbench.predict.series.stack import decimals, shown

_ROWS, _COLUMNS, _FRAMES, _SAMPLES, _MEANING = 0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280004
_INTERCEPT, _SLOPE, _TABLE = 0x00281052, 0x00281053, 0x00283000

DCM2NIIX = "convert it to NIfTI, for example with dcm2niix"


def check_pictures(folder: Path, headers: Mapping[str, Header], frames: int) -> None:
    """Check that every file of a series holds grey values on a scale that SimpleITK applies.

    Args:
        folder: The folder that a sentence names.
        headers: By path of the file.
        frames: Frames whose place is known: those of an enhanced file, otherwise 0.

    Raises:
        BadFile: If a file holds colours, inverted values, a lookup table or a damaged scale, pictures differ in size,
            or a file has frames without a place.
    """
    sizes = set()
    for path, header in headers.items():
        name = shown(Path(path).name)
        meaning = header.text(_MEANING).upper()
        if header.number(_SAMPLES, 1) != 1 or meaning not in ("", "MONOCHROME2"):
            cause = "holds values of which the lowest is the brightest" if meaning == "MONOCHROME1" else "holds colours"
            kind = f" (PhotometricInterpretation is {shown(meaning)})" if meaning else ""
            raise BadFile(folder, f"contains {name}, which {cause}{kind}", "give a series of plain grey values")
        if header.items.get(_TABLE):
            cause = f"contains {name}, whose values go through a lookup table (ModalityLUTSequence)"
            raise BadFile(folder, cause, DCM2NIIX)
        count = int(header.text(_FRAMES) or 1)
        if count != 1 and not frames:
            cause = f"contains {name}, which holds {count} frames without a place for each"
            raise BadFile(folder, cause, DCM2NIIX)
        scale(folder, header.text(_SLOPE), header.text(_INTERCEPT))
        sizes.add((header.number(_COLUMNS, 0), header.number(_ROWS, 0)))
    if len(sizes) > 1:
        listed = " and ".join(f"{columns} x {rows}" for columns, rows in sorted(sizes)[:2])
        cause = f"contains pictures of different sizes ({listed} pixels)"
        raise BadFile(folder, cause, "give the folder of one complete volume")


def scale(folder: Path, slope: str, intercept: str) -> tuple[float, float]:
    """Return the slope and the intercept by which stored values become those of the scanner; 1 and 0 if missing.

    Raises:
        BadFile: If one is not a number, or the slope is 0.
    """
    found = []
    for name, text, missing in (("RescaleSlope", slope, 1.0), ("RescaleIntercept", intercept, 0.0)):
        try:
            found.append(decimals(text, 1)[0] if text else missing)
        except ValueError:
            cause = f"has a scale that is not a number ({name} is {shown(text)!r})"
            raise BadFile(folder, cause, "export the series again") from None
    if found[0] == 0:
        cause = "has a scale that makes every value the same (RescaleSlope is 0)"
        raise BadFile(folder, cause, "export the series again")
    return found[0], found[1]
