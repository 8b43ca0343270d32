"""The AnyAD release's tree of 8-bit PNG slices, read with the part of the split that contains each slice."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.encoding import fit_coding
from anyadbench.data.trees.background import no_background, settle
from anyadbench.data.trees.files import ScanFiles, SliceFiles
from anyadbench.data.trees.layouts import REGIONS, SEGMENTATION
from anyadbench.data.trees.nifti_scan import hash_array
from anyadbench.data.trees.problems import BadFile, Problem, errors
from anyadbench.data.trees.scan_slices import Part, lesion_distance, sequence_columns
from anyadbench.data.trees.volume import Volume, orientations
from anyadbench.sequences import SEQUENCES

if TYPE_CHECKING:
    from jaxtyping import UInt8


@dataclass
class _Read:
    """What has been read of a scan so far."""

    images: dict[str, list[UInt8[np.ndarray, "H W"]]] = field(default_factory=dict)
    masks: list[UInt8[np.ndarray, "H W"]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)


def read_png(path: Path, grey_rgb: bool = False) -> UInt8[np.ndarray, "H W"]:
    """Read an 8-bit grey PNG.

    Args:
        path: The file.
        grey_rgb: Whether to read an 8-bit RGB image too if its three channels are equal, so that nothing is lost.

    Raises:
        BadFile: If it is missing, empty, damaged, or not an 8-bit grey PNG.
    """
    from PIL import Image  # not OpenCV, whose PNG library prints lines that name no file

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})", "check the path and the permissions") from error
    if not data:
        raise BadFile(path, "is empty (0 bytes)", "copy or make it again")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            mode = picture.mode
            image = np.array(picture.convert("L") if mode == "1" else picture)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, MemoryError) as error:
        raise BadFile(path, "is damaged or not a PNG", "copy or make it again") from error
    except Image.DecompressionBombError:
        raise BadFile(path, "holds far more pixels than a slice", "copy or make it again") from None
    if grey_rgb and mode == "RGB" and (image == image[..., :1]).all():
        return np.ascontiguousarray(image[..., 0])
    if mode not in ("1", "L"):
        cause = f"is not an 8-bit grey image (shape {image.shape}, type {image.dtype})"
        raise BadFile(path, cause, "save it as an 8-bit grey PNG")
    return image


def png_part(files: ScanFiles) -> tuple[Part | None, list[Problem]]:
    """Read and check the slices of one scan; the part is ``None`` if a problem excludes the scan."""
    names = tuple(name for name in SEQUENCES if any(name in item.files for item in files.slices))
    read = _Read({name: [] for name in names})
    for item in files.slices:
        _read_slice(files, item, names, read)
    shapes = {image.shape for stack in [*read.images.values(), read.masks] for image in stack}
    if not errors(read.problems) and len(shapes) > 1:
        cause = f"belongs to {files.scan}, whose slices have several shapes: {sorted(shapes)}"
        read.problems.append(_problem(files, files.paths[0], cause, "make all slices the same size"))
    if not errors(read.problems):
        _settle(files, read)
    if errors(read.problems):
        return None, read.problems
    return _part(files, names, read), read.problems


def _settle(files: ScanFiles, read: _Read) -> None:
    """Bring the background of each sequence to 0, and report what was done; a field may be cut close to the brain."""
    for name, stack in read.images.items():
        path, array = files.files[name], np.stack(stack)
        volume = Volume(path, array.transpose(2, 1, 0), np.eye(4), np.eye(4), orientations.axcodes2ornt("LPS"))
        try:
            found = settle(volume)
        except BadFile as bad:
            read.problems.append(_problem(files, path, f"and the other slices of its scan: {bad.cause}", bad.fix))
            continue
        causes = [f"is a slice of a scan that {note}" for note in found.notes]
        if array.any() and (reason := no_background(found.volume)):
            causes.append(f"is a slice of a scan without background ({reason}), so its whole field counts as brain")
        read.images[name] = list(found.volume.array.transpose(2, 1, 0).astype(np.uint8))
        fix = "no action is needed" if found.value else "set the background to 0"
        read.problems += [Problem(files.relative(path), cause, fix, "warning", files.scan) for cause in causes]


def _problem(files: ScanFiles, path: Path, cause: str, fix: str) -> Problem:
    return Problem(files.relative(path), cause, fix, scan=files.scan)


def _read_slice(files: ScanFiles, item: SliceFiles, names: tuple[str, ...], read: _Read) -> None:
    first = next(iter(item.files.values()))
    lacking = [name for name in names if name not in item.files]
    if lacking:
        cause = f"has no {', '.join(lacking)} beside it, as other slices of {files.scan} have"
        read.problems.append(_problem(files, first, cause, "add the file, or remove the slice"))
    if item.part == "test/abnormal" and SEGMENTATION not in item.files:
        fix = "add the mask, or remove the slice"
        read.problems.append(_problem(files, first, "is in ABNORMAL but has no mask", fix))
    mask = None
    for name, path in item.files.items():
        try:
            image = read_png(path)
        except BadFile as bad:
            read.problems.append(_problem(files, path, bad.cause, bad.fix))
            continue
        if name != SEGMENTATION:
            read.images[name].append(image)
            if image.any():
                read.hashes[f"{name} of slice {item.index}"] = hash_array(image)
            continue
        mask = image
        odd = sorted(set(np.unique(image).tolist()) - {0, 255})
        if odd:
            cause = f"holds the values {', '.join(map(str, odd[:5]))} where a mask holds 0 and 255"
            read.problems.append(_problem(files, path, cause, "save it with 255 for lesion"))
    if mask is None and any(stack for stack in read.images.values()):
        mask = np.zeros_like(next(stack[-1] for stack in read.images.values() if stack))
    if mask is not None:
        read.masks.append(np.where(mask > 0, REGIONS["lesion"], 0).astype(np.uint8))


def _part(files: ScanFiles, names: tuple[str, ...], read: _Read) -> Part:
    masks = np.stack(read.masks)
    images = np.stack([np.stack(read.images[name]) for name in names], axis=1).astype(np.uint16)
    row: dict[str, Any] = {"spacing_x": 1.0, "spacing_y": 1.0, "spacing_z": 1.0}
    row["lesion_voxels"] = int((masks > 0).sum())
    for index, name in enumerate(names):
        own = images[:, index]
        sha = hashlib.sha256(np.ascontiguousarray(own).data).hexdigest()
        row |= sequence_columns(name, own, fit_coding(own), sha)
    indices = np.array([item.index for item in files.slices])
    labelled = np.zeros(indices.max() + 1, bool)
    labelled[indices[masks.reshape(len(masks), -1).any(axis=1)]] = True
    distance = lesion_distance(labelled)
    slices = [
        {
            "slice": item.index,
            # A PNG has no position; slices of 1 mm are assumed, as in the sets that the release names.
            "height_mm": float(item.index),
            "brain": float((images[i] != 0).any(axis=0).mean()),
            "lesion_px": int((masks[i] > 0).sum()),
            "cavity_px": 0,
            "lesion_distance": int(distance[item.index]),
            "part": item.part,
        }
        for i, item in enumerate(files.slices)
    ]
    return Part(names, images, masks, row, slices, read.hashes)
