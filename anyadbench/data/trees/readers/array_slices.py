"""Slices stored as one array each, channels first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.store.encoding import encode, fit_coding
from anyadbench.data.store.npy import load_npy
from anyadbench.data.trees.background import no_background, settle
from anyadbench.data.trees.files import ScanFiles
from anyadbench.data.trees.layouts import FOUR_D, REGIONS, SEGMENTATION
from anyadbench.data.trees.nifti_scan import hash_array
from anyadbench.data.trees.problems import BadFile, Problem, errors
from anyadbench.data.trees.scan_slices import Part, lesion_distance, sequence_columns
from anyadbench.data.trees.volume import FRACTION, Volume, orientations

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8


def read_array(path: Path, channels: tuple[str, ...]) -> Float32[np.ndarray, "C H W"]:
    """Read the array of one slice.

    Args:
        path: The file.
        channels: What its first axis holds.

    Raises:
        BadFile: If it is missing, damaged, of another shape or type, or holds NaN, infinity or fractional labels.
    """
    array = load_npy(path, "copy or make it again")
    if array.ndim != 3 or len(array) != len(channels) or array.dtype.kind not in "iufb" or not array.size:
        cause = (
            f"has the shape {array.shape} and type {array.dtype} where its set has {len(channels)} channels of pixels"
        )
        raise BadFile(path, cause, f"give an array with {', '.join(channels)} along its first axis")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise BadFile(path, "holds NaN or infinity, or numbers beyond float32", "fix or replace the array")
    if SEGMENTATION in channels:
        labels = values[channels.index(SEGMENTATION)]
        worst = float(np.abs(labels - np.rint(labels)).max())
        if worst > FRACTION or labels.min() < 0:
            cause = f"holds labels that are not whole numbers from 0 (up to {worst:.3g} away)"
            raise BadFile(path, cause, "resample the labels by nearest neighbour")
    return values


def array_part(files: ScanFiles, channels: tuple[str, ...]) -> tuple[Part | None, list[Problem]]:
    """Read and check the slices of one subject; the part is ``None`` if a problem excludes it."""
    problems: list[Problem] = []
    arrays: list[np.ndarray] = []
    for item in files.slices:
        try:
            arrays.append(read_array(item.files[FOUR_D], channels))
        except BadFile as bad:
            problems.append(Problem(files.relative(item.files[FOUR_D]), bad.cause, bad.fix, scan=files.scan))
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) > 1:
        cause = f"belongs to {files.scan}, whose slices have several shapes: {shapes}"
        problems.append(
            Problem(files.relative(files.paths[0]), cause, "make all slices the same size", scan=files.scan)
        )
    if problems:
        return None, problems
    stack = np.stack(arrays, axis=1)
    images: dict[str, np.ndarray] = {}
    for name in files.files:
        volume = _as_volume(files.files[name], stack[channels.index(name)])
        try:
            found = settle(volume)
        except BadFile as bad:
            cause = f"and the other slices of its subject, {name}: {bad.cause}"
            problems.append(Problem(files.relative(volume.path), cause, bad.fix, scan=files.scan))
            continue
        causes = [f"is a slice of a subject whose {name} {note}" for note in found.notes]
        if volume.array.any() and (reason := no_background(found.volume)):
            causes.append(f"is a slice of a subject whose {name} has no background ({reason})")
        problems += [
            Problem(files.relative(volume.path), cause, "no action is needed", "warning", files.scan)
            for cause in causes
        ]
        images[name] = found.volume.array.transpose(2, 1, 0)
    if errors(problems):
        return None, problems
    labels = stack[channels.index(SEGMENTATION)] if SEGMENTATION in channels else np.zeros(stack.shape[1:])
    return _part(files, images, np.where(labels > 0.5, REGIONS["lesion"], 0).astype(np.uint8)), problems


def _as_volume(path: Path, slices: Float32[np.ndarray, "n H W"]) -> Volume:
    return Volume(path, slices.transpose(2, 1, 0), np.eye(4), np.eye(4), orientations.axcodes2ornt("LPS"))


def _part(files: ScanFiles, images: Mapping[str, np.ndarray], masks: UInt8[np.ndarray, "n H W"]) -> Part:
    # The arrays have no geometry; pixels and slices of 1 mm are assumed, as in the volumes that they were cut from.
    row: dict[str, Any] = {
        "spacing_x": 1.0,
        "spacing_y": 1.0,
        "spacing_z": 1.0,
        "lesion_voxels": int((masks > 0).sum()),
    }
    stored = np.zeros((len(masks), len(images), *masks.shape[1:]), np.uint16)
    hashes = {}
    for index, (name, values) in enumerate(images.items()):
        coding, hashes[name] = fit_coding(values), hash_array(values)
        stored[:, index] = encode(values, coding)
        row |= sequence_columns(name, values, coding, hashes[name])
    numbers = np.array([item.index for item in files.slices])
    labelled = np.zeros(int(numbers.max()) + 1, bool)
    labelled[numbers[masks.reshape(len(masks), -1).any(axis=1)]] = True
    distance = lesion_distance(labelled)
    seen = np.any([values != 0 for values in images.values()], axis=0)
    slices = [
        {
            "slice": int(number),
            "height_mm": float(number),
            "brain": float(seen[i].mean()),
            "lesion_px": int((masks[i] > 0).sum()),
            "cavity_px": 0,
            "lesion_distance": int(distance[number]),
        }
        for i, number in enumerate(numbers)
    ]
    return Part(tuple(images), stored, masks, row, slices, hashes)
