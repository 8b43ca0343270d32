"""Tiny trees with the names of the real releases, including their known faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

nifti: Any = nibabel
"""nibabel ships no types."""

SUFFIX_OLD = {"flair": "flair", "t1": "t1", "t1ce": "t1ce", "t2": "t2", "seg": "seg"}
SUFFIX_NEW = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w", "seg": "seg"}
MU = {"flair": "brain_t2f", "t1": "brain_t1n", "t1ce": "brain_t1c", "t2": "brain_t2w", "seg": "tumorMask"}
MSLUB = {"flair": "FLAIR", "t1": "T1W", "t1ce": "T1WKS", "t2": "T2W", "seg": "consensus_gt"}
MSLUB_SHORT = {"flair": "FLAIR", "t1": "T1", "t2": "T2", "seg": "GOLD_STANDARD"}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LABELS = {"msd01": (1, 2, 3), "mslub": (1, 1, 1), "mslub-short": (1, 1, 1), "brats2023": (2, 1, 3), "mu": (2, 1, 4),
          "brats2024": (2, 1, 4), "pretreat": (2, 1, 3), "mets": (2, 1, 3), "ped": (4, 2, 1)}  # fmt: skip


def names(layout: str, number: int) -> tuple[str, dict[str, str]]:
    """Return a subject's scan name and the file stem (below the root) of each sequence."""
    n = f"{number:03d}"
    stems = {
        "brats2018": (f"HGG/Brats18_CBICA_A{n}_1", f"Brats18_CBICA_A{n}_1", "_", SUFFIX_OLD),
        "phantom": (f"HGG/Phantom_{n}_1", f"Phantom_{n}_1", "_", SUFFIX_OLD),
        "phantom-dev": (f"HGG/Phantom_{n}_1", f"Phantom_{n}_1", "_", SUFFIX_OLD),
        "phantom-shift": (f"HGG/Phantom_{n}_1", f"Phantom_{n}_1", "_", SUFFIX_OLD),
        "brats2019": (f"LGG/BraTS19_2013_{number}_1", f"BraTS19_2013_{number}_1", "_", SUFFIX_OLD),
        "brats2020": (f"BraTS20_Training_{n}", f"BraTS20_Training_{n}", "_", SUFFIX_OLD),
        "brats2021": (f"BraTS2021_00{n}", f"BraTS2021_00{n}", "_", SUFFIX_OLD),
        "brats2023": (f"BraTS-GLI-00{n}-000", f"BraTS-GLI-00{n}-000", "-", SUFFIX_NEW),
        "brats2024": (f"BraTS-GLI-02{n}-100", f"BraTS-GLI-02{n}-100", "-", SUFFIX_NEW),
        "pretreat": (f"PKG - Pretreat/BraTS-MET-00{n}-000", f"BraTS-MET-00{n}-000", "-", SUFFIX_NEW),
        "mets": (f"BraTS-MET-00{n}-000", f"BraTS-MET-00{n}-000", "-", SUFFIX_NEW),
        "ped": (f"BraTS-PED-00{n}-000", f"BraTS-PED-00{n}-000", "-", SUFFIX_NEW),
        "mu": (f"PKG - MU-Glioma-Post/PatientID_0{n}/Timepoint_1", f"PatientID_0{n}_Timepoint_1", "_", MU),
        "mslub": (f"MNI/patient{n[1:]}", f"patient{n[1:]}", "_", MSLUB),
        "mslub-short": (f"patient{n[1:]}", f"patient{n[1:]}", "", MSLUB_SHORT),
        "ixi": ("IXI", f"IXI{n}-Guys-0828", "-", {"t1": "T1", "t2": "T2"}),
    }
    folder, scan, separator, suffixes = stems[layout]
    prefix = "" if layout == "mslub-short" else scan + separator
    return scan, {kind: f"{folder}/{prefix}{suffix}" for kind, suffix in suffixes.items()}


def anatomy(number: int, shape: tuple[int, int, int], kind: str) -> np.ndarray:
    """Return an LPS int16 volume: an ellipsoid of positive values on 0, without symmetry, different for each kind."""
    centre, half = (np.array(shape) - 1) / 2, np.array(shape) / 2.3
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    inside = (((grid - centre) / half) ** 2).sum(axis=-1) < 1
    rng = np.random.default_rng([number, len(kind), sum(map(ord, kind))])
    values = 200 + 5 * grid[..., 0] + 3 * grid[..., 1] + grid[..., 2] + rng.integers(0, 100, shape)
    return np.where(inside, values, 0).astype(np.int16)


def lesion(layout: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a uint8 segmentation: a box in the lower slices, with each of the layout's labels."""
    labels = np.zeros(shape, np.uint8)
    outer, inner, last = LABELS.get(layout, (2, 1, 4))
    x, y, _ = (length // 2 for length in shape)
    labels[x - 4 : x + 4, y - 4 : y + 4, 2:4] = outer
    labels[x - 2 : x + 2, y - 2 : y + 2, 2:4] = inner
    labels[x, y, 2:4] = last
    return labels


def save(path: Path, array: np.ndarray, affine: np.ndarray = LPS) -> Path:
    """Write an image with its sform set, creating folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.nifti1.Nifti1Image(array, affine).to_filename(path)
    return path


def values_of(path: Path) -> np.ndarray:
    """Return a file's values in their stored order."""
    return np.asarray(nifti.loadsave.load(path).dataobj)


def save_as(path: Path, lps: np.ndarray, axes: str) -> Path:
    """Write an LPS array in another orientation, with the affine to match."""
    orient = nifti.orientations
    turn = orient.ornt_transform(orient.axcodes2ornt("LPS"), orient.axcodes2ornt(axes))
    turned = orient.apply_orientation(lps, turn)
    return save(path, np.ascontiguousarray(turned), LPS @ orient.inv_ornt_aff(turn, lps.shape))


def make_tree(
    layout: str,
    root: Path,
    subjects: int | Iterable[int] = 3,
    shape: tuple[int, int, int] = (40, 40, 12),
    faults: Iterable[str] = (),
    ending: str = ".nii.gz",
) -> Path:
    """Write a tree with a layout's real names and return its root.

    Args:
        layout: Name of a layout, or ``mslub-short`` for MSLUB under its other names.
        root: Folder to create.
        subjects: Number of subjects, or their numbers.
        shape: Size of every volume.
        faults: Known faults to add, see :data:`FAULTS`; each affects the first subject, or those of the release.
        ending: ``.nii`` or ``.nii.gz``.
    """
    numbers = list(range(1, subjects + 1)) if isinstance(subjects, int) else list(subjects)
    from more_trees import make_more

    if layout == "msd01":
        _make_msd(root, numbers, shape, ending)
    elif layout == "anyad-png":
        _make_png(root, numbers, shape)
    elif not make_more(layout, root, numbers, shape):
        for number in numbers:
            for kind, stem in names(layout, number)[1].items():
                volume = lesion(layout, shape) if kind == "seg" else anatomy(number, shape, kind)
                save(root / f"{stem}{ending}", volume)
    for fault in faults:
        FAULTS[fault](layout, root, numbers[0], shape, ending)
    return root


def path_of(layout: str, root: Path, number: int, kind: str, ending: str = ".nii.gz") -> Path:
    """Return the file of one sequence of one subject."""
    if layout == "msd01":
        return root / ("labelsTr" if kind == "seg" else "imagesTr") / f"BRATS_{number:03d}{ending}"
    return root / f"{names(layout, number)[1][kind]}{ending}"


def _make_msd(root: Path, numbers: list[int], shape: tuple[int, int, int], ending: str) -> None:
    for number in numbers:
        volumes = [anatomy(number, shape, kind) for kind in ("flair", "t1", "t1ce", "t2")]
        save(path_of("msd01", root, number, "flair", ending), np.stack(volumes, axis=-1))
        save(path_of("msd01", root, number, "seg", ending), lesion("msd01", shape))


def save_png(path: Path, image: np.ndarray) -> Path:
    """Write a grey PNG, creating folders."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def _make_png(root: Path, numbers: list[int], shape: tuple[int, int, int]) -> None:
    """Write the first subject's slices to train and the others' to test."""
    for place, number in enumerate(numbers):
        labels = lesion("brats2018", shape)
        for k in range(2, shape[2] - 2):
            bad = bool(labels[:, :, k].any())
            part = "train" if place == 0 else "test/ABNORMAL" if bad else "test/NORMAL"
            stem = f"Brats18_CBICA_A{number:03d}_1_slice{k}"
            for kind in ("flair", "t1", "t2"):
                image = anatomy(number, shape, kind)[:, :, k].T
                save_png(root / part / kind / f"{stem}.png", np.clip(image / 3, 0, 255).astype(np.uint8))
            if bad and place:
                save_png(root / part / "mask" / f"{stem}_mask.png", (labels[:, :, k].T > 0).astype(np.uint8) * 255)


Fault = Callable[[str, Path, int, tuple[int, int, int], str], object]


def _edit(kind: str, change: Callable[[Path, tuple[int, int, int]], object]) -> Fault:
    """Return a fault that changes one file of the first subject."""

    def fault(layout: str, root: Path, number: int, shape: tuple[int, int, int], ending: str) -> None:
        change(path_of(layout, root, number, kind, ending), shape)

    return fault


def _write(path: Path, array: np.ndarray, affine: np.ndarray = LPS) -> None:
    save(path, array, affine)


def _with(path: Path, value: float) -> None:
    array = np.array(values_of(path), dtype=np.float32, order="C")
    array.reshape(-1)[5] = value
    save(path, array)


def _move(path: Path, millimetres: float) -> None:
    affine = LPS.copy()
    affine[0, 3] = millimetres
    save(path, values_of(path), affine)


def _segm_355(layout: str, root: Path, number: int, shape: tuple[int, int, int], ending: str) -> None:
    folder = root / "BraTS20_Training_355"
    for kind in ("flair", "t1", "t1ce", "t2"):
        save(folder / f"BraTS20_Training_355_{kind}{ending}", anatomy(355, shape, kind))
    save(folder / f"W39_1998.09.19_Segm{ending}", lesion("brats2020", shape))


def _mu_missing(layout: str, root: Path, number: int, shape: tuple[int, int, int], ending: str) -> None:
    for patient, time in ((187, 3), (191, 1)):
        stem = f"PatientID_0{patient}/Timepoint_{time}/PatientID_0{patient}_Timepoint_{time}"
        for kind in ("flair", "t1", "t1ce", "t2"):
            save(root / "PKG - MU-Glioma-Post" / f"{stem}_{MU[kind]}{ending}", anatomy(patient + time, shape, kind))


def _twins(layout: str, root: Path, number: int, shape: tuple[int, int, int], ending: str) -> None:
    for kind in names(layout, number)[1]:
        target = path_of(layout, root, 90, kind, ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path_of(layout, root, number, kind, ending).read_bytes())


def _copy(layout: str, root: Path, number: int, shape: tuple[int, int, int], ending: str) -> None:
    path_of(layout, root, number, "t1", ending).write_bytes(path_of(layout, root, number, "flair", ending).read_bytes())


FAULTS: dict[str, Fault] = {
    "missing-seg": _edit("seg", lambda path, shape: path.unlink()),
    "no-t2": _edit("t2", lambda path, shape: path.unlink()),
    "empty": _edit("flair", lambda path, shape: path.write_bytes(b"")),
    "truncated": _edit("flair", lambda path, shape: path.write_bytes(path.read_bytes()[:-200])),
    "text": _edit("flair", lambda path, shape: path.write_text("this is no image at all" * 40)),
    "4d": _edit("flair", lambda path, shape: _write(path, np.ones((*shape, 2), np.int16))),
    "nan": _edit("flair", lambda path, shape: _with(path, np.nan)),
    "inf": _edit("flair", lambda path, shape: _with(path, np.inf)),
    "zeros": _edit("flair", lambda path, shape: _write(path, np.zeros(shape, np.int16))),
    "other-shape": _edit("t2", lambda path, shape: _write(path, np.ones((shape[0] + 2, *shape[1:]), np.int16))),
    "other-affine": _edit("t2", lambda path, shape: _move(path, 7.0)),
    "seg-affine": _edit("seg", lambda path, shape: _move(path, 7.0)),
    "seg-shape": _edit("seg", lambda path, shape: _write(path, np.zeros((*shape[:2], shape[2] + 1), np.uint8))),
    "fractional": _edit("seg", lambda path, shape: _write(path, np.full(shape, 0.4, np.float32))),
    "odd-label": _edit("seg", lambda path, shape: _with(path, 9)),
    "same-t1": _copy,
    "twins": _twins,
    "mu-missing": _mu_missing,
    "segm-355": _segm_355,
    "apple": lambda layout, root, *_: (root / "._leftover.nii.gz").write_bytes(b"Mac"),
    "junk": lambda layout, root, *_: [(root / name).write_text("x") for name in (".DS_Store", "survival_data.csv")],
    "stray": lambda layout, root, number, shape, ending: save(root / f"average{ending}", anatomy(0, shape, "t1")),
}
"""Faults by name; each is a function of layout, root, number of the first subject, shape and ending."""
