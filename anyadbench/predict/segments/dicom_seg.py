"""The mask as a DICOM segmentation (PS3.3, annex A.51) on the slices of the input series.

``highdicom`` (Bridge et al., Journal of Digital Imaging 35, 2022) writes the object. Of the input it sees a copy of the
listed elements alone, so no other text can reach the output.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.predict.inputs import is_dicom
from anyadbench.predict.prepare.own_voxels import own_voxels
from anyadbench.sequences import SEQUENCES, SHORT
from anyadbench.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool

    from anyadbench.predict.prediction import Prediction

GEOMETRY = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "Rows",
    "Columns", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImageOrientationPatient",
    "ImagePositionPatient", "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Elements that the object needs to lie on its input and to refer to it."""

GROUPS = {"PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"}
"""Functional groups of an enhanced file that say where a frame lies; others are left out."""

IDS = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Elements that must be present and may be empty; they are kept only where the user asks for it."""

ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
"""What the segment is: an anomaly map does not know lesions from other anomalies."""


def check_seg(scans: Mapping[str, Any]) -> None:
    """Check, before any work, that a segmentation can be written.

    Raises:
        UserError: If ``highdicom`` is not installed, or no scan is a DICOM series.
    """
    if find_spec("highdicom") is None:
        raise UserError(
            "--dicom-seg needs highdicom: run 'pip install anyadbench[dicom-seg]', or leave it out and use mask.nii.gz."
        )
    if not any(_is_series(scan) for scan in scans.values()):
        raise UserError(
            "--dicom-seg needs a DICOM series to refer to, and none of the scans is one; give a DICOM series, or leave "
            "it out and use mask.nii.gz."
        )


def seg_name(sequence: str) -> str:
    """Return the name of the file with the mask on the slices of an input."""
    return f"mask_{sequence}.dcm"


def seg_files(folder: Path) -> list[Path]:
    """Return the segmentations that a folder holds under the names of ``seg_name``."""
    return [folder / seg_name(name) for name in SEQUENCES if (folder / seg_name(name)).exists()]


def segmentations(prediction: Prediction, *, keep_ids: bool = False) -> dict[str, bytes]:
    """Return the mask as one DICOM file for each input that is a DICOM series, by sequence; none without a mask.

    Args:
        prediction: With its mask.
        keep_ids: Whether patient, study and accession are those of the input; otherwise they are empty.

    Raises:
        UserError: As ``check_seg``, or if a series lacks its frame of reference.
    """
    paths = {name: Path(str(facts["file"])) for name, facts in prediction.inputs.items()}
    check_seg(paths)
    if prediction.mask is None:
        return {}
    return {
        name: _encoded(prediction, name, path, keep_ids=keep_ids) for name, path in paths.items() if _is_series(path)
    }


def _is_series(scan: Any) -> bool:
    if not isinstance(scan, str | Path):
        return False
    path = Path(scan).expanduser()
    return path.is_dir() or (path.is_file() and is_dicom(path))


def _encoded(prediction: Prediction, sequence: str, path: Path, *, keep_ids: bool) -> bytes:
    from anyadbench.predict.dicom import series_stack

    files, order = series_stack(path)
    sources = [_source(file, keep_ids=keep_ids) for file in files]
    if "FrameOfReferenceUID" not in sources[0]:
        raise UserError(
            f"{path}: the series has no frame of reference (FrameOfReferenceUID), which a DICOM segmentation needs; "
            "export it again, or leave --dicom-seg out."
        )
    mask = own_voxels(prediction, sequence).mask
    assert mask is not None
    frames = np.zeros(mask.shape[::-1], bool)
    frames[order] = mask.transpose(2, 1, 0)  # slices in the order of the files or frames that they come from
    target = BytesIO()
    with warnings.catch_warnings():  # they would print a patient's name that is kept
        warnings.simplefilter("ignore")
        _segmentation(prediction, sequence, sources, frames).save_as(target)
    return target.getvalue()


def _source(path: Path, *, keep_ids: bool) -> Any:
    """Return a DICOM file's header with nothing but what the segmentation needs."""
    pydicom = import_module("pydicom")
    # A file without preamble and meta header is known to be DICOM: read_series has read it.
    read = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*GEOMETRY, *IDS], force=True)
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    implicit = pydicom.uid.ImplicitVRLittleEndian  # DICOM's default, where the file has no meta header
    found.file_meta.TransferSyntaxUID = read.file_meta.get("TransferSyntaxUID", implicit)
    for name in GEOMETRY:
        if name in read:
            found.add(read[name])
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in found.get(name, []):
            for element in list(item):
                if element.keyword not in GROUPS:
                    del item[element.tag]
    if keep_ids and "SpecificCharacterSet" in read:
        found.SpecificCharacterSet = read.SpecificCharacterSet
    for name in IDS:
        setattr(found, name, read.get(name, "") if keep_ids else "")
    return found


def _segmentation(prediction: Prediction, sequence: str, sources: list[Any], frames: Bool[np.ndarray, "z y x"]) -> Any:
    highdicom, pydicom = import_module("highdicom"), import_module("pydicom")
    seg, coded = import_module("highdicom.seg"), import_module("highdicom.sr").CodedConcept
    origin = prediction.origin
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=str(origin["method"]),
        family=coded("123110", "DCM", "Artificial Intelligence"),
        version=f"anyadbench {__version__}",
        parameters={"cell": str(origin["folder"]), "threshold": f"{prediction.threshold:g}"},
    )
    segment = seg.SegmentDescription(
        segment_number=1,
        segment_label="Anomaly map above its threshold",
        segmented_property_category=coded(*ABNORMAL),
        segmented_property_type=coded(*ABNORMAL),
        algorithm_type="AUTOMATIC",
        algorithm_identification=made_by,
    )
    # The same mask on the same series gives the same ids, so that an archive does not collect copies.
    entropy = [str(origin["cell_id"]), sources[0].SOPInstanceUID, np.packbits(frames).tobytes().hex()]
    uids = [pydicom.uid.generate_uid(entropy_srcs=[*entropy, part]) for part in ("series", "instance")]
    return seg.Segmentation(
        source_images=sources,
        pixel_array=frames.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=uids[0],
        series_number=9000 + SEQUENCES.index(sequence),
        sop_instance_uid=uids[1],
        instance_number=1,
        manufacturer="anyadbench",
        manufacturer_model_name=str(origin["method"]),
        software_versions=__version__,
        device_serial_number=str(origin["cell_id"])[:16],
        content_label="ANOMALY",
        content_description=f"Research use only; on {SHORT[sequence]}",
        series_description=f"anyadbench mask on {SHORT[sequence]}",
        omit_empty_frames=bool(frames.any()),
    )
