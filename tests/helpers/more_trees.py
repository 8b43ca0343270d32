"""Tiny trees of data sets whose releases are no plain volumes in one naming: several grids, formats, tables, boxes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from trees import LPS, anatomy, lesion, nifti, save, save_png

Shape = tuple[int, int, int]

MSSEG = {"flair": "FLAIR", "t1": "T1", "t1ce": "GADO", "t2": "T2", "pd": "DP"}


def wmh(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """WMH 2017 with raw images beside the preprocessed ones, and label 2 for other pathology."""
    for number in numbers:
        folder = root / "training" / ("Utrecht", "Singapore", "Amsterdam/GE3T")[number % 3] / f"{number:03d}"
        for kind in ("FLAIR", "T1"):
            save(folder / "pre" / f"{kind}.nii.gz", anatomy(number, shape, kind.lower()))
            save(folder / "orig" / f"{kind}.nii.gz", anatomy(number + 50, shape, kind.lower()))
        labels = (lesion("wmh2017", shape) > 0).astype(np.uint8)
        labels[shape[0] // 2 - 3 : shape[0] // 2, 6:9, 4] = 2
        labels[shape[0] // 2 - 3 : shape[0] // 2, 6:9, 3] = 2
        save(folder / "wmh.nii.gz", labels)


def isles(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """ISLES 2022: FLAIR with slices half as thick and pixels as large again as those of DWI, ADC and the mask."""
    for number in numbers:
        scan = f"sub-strokecase{number:04d}_ses-0001"
        folder = root / f"sub-strokecase{number:04d}" / "ses-0001"
        for kind in ("dwi", "adc"):
            save(folder / "dwi" / f"{scan}_{kind}.nii.gz", anatomy(number, shape, kind))
        fine = (shape[0] // 2, shape[1] // 2, shape[2] * 2)
        affine = LPS @ np.diag([2.0, 2.0, 0.5, 1.0])
        affine[:3, 3] = LPS[:3, :3] @ (0.5, 0.5, -0.25)
        save(folder / "anat" / f"{scan}_FLAIR.nii.gz", anatomy(number, fine, "flair"), affine)
        mask = (lesion("isles2022", shape) > 0).astype(np.uint8)
        save(root / "derivatives" / f"sub-strokecase{number:04d}" / "ses-0001" / f"{scan}_msk.nii.gz", mask)


def atlas(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """ATLAS R2.0, stripped by its user."""
    for number in numbers:
        subject = f"sub-r{1 + number % 2:03d}s{number:03d}"
        stem = (
            root / f"R{1 + number % 2:03d}" / subject / "ses-1" / "anat" / f"{subject}_ses-1_space-MNI152NLin2009aSym"
        )
        save(Path(f"{stem}_T1w.nii.gz"), anatomy(number, shape, "t1"))
        mask = (lesion("atlas", shape) > 0).astype(np.uint8)
        save(Path(f"{stem}_label-L_desc-T1lesion_mask.nii.gz"), mask)


def msseg(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """MSSEG 2016 with its raw images and the masks of single raters; patients are counted in each centre."""
    for number in numbers:
        folder = root / "Training" / f"Center_{1 + number % 2:02d}" / f"Patient_{1 + number // 2:02d}"
        for kind, name in MSSEG.items():
            save(folder / "Preprocessed_Data" / f"{name}_preprocessed.nii.gz", anatomy(number, shape, kind))
        save(folder / "Raw_Data" / "FLAIR.nii.gz", anatomy(number + 50, shape, "flair"))
        mask = (lesion("msseg", shape) > 0).astype(np.uint8)
        for name in ("Consensus", "ManualSegmentation_1", "Brain_Mask"):
            save(folder / "Masks" / f"{name}.nii.gz", mask)


def oasis(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """OASIS-1: big-endian Analyze pairs with a fourth axis, other images beside them; the last person has dementia."""
    lines = ["ID,M/F,Hand,Age,CDR,Delay"]
    numbers = list(numbers)
    for number in numbers:
        name = f"OAS1_{number:04d}_MR1"
        folder = root / "disc1" / name / "PROCESSED" / "MPRAGE" / "T88_111"
        folder.mkdir(parents=True)
        las = anatomy(number, shape, "t1")[:, ::-1]
        for tail in ("masked_gfc", "gfc"):
            header = nibabel.analyze.AnalyzeHeader(endianness=">")
            header.set_data_dtype(np.dtype(">i2"))
            image = nifti.analyze.AnalyzeImage(las[..., None].astype(">i2"), None, header)
            image.to_filename(folder / f"{name}_mpr_n4_anon_111_t88_{tail}.img")
        lines.append(f"{name},{'FM'[number % 2]},R,{20 + number},{'0.5' if number == numbers[-1] else ''},N/A")
    (root / "oasis_cross-sectional.csv").write_text("\n".join(lines) + "\n")


def bids(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """BIDS with sessions, contrast, two runs, brain masks, preprocessed copies, functional data, and a control."""
    lines = ["participant_id\tage\tsex\tsite\tgroup"]
    numbers = list(numbers)
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.10.0"}')
    for number in numbers:
        subject, healthy = f"sub-{number:02d}", number == numbers[-1]
        stem = f"{subject}_ses-a"
        folder = Path(subject) / "ses-a" / "anat"
        for kind, name in (("flair", "FLAIR"), ("t1", "T1w"), ("t1ce", "ce-gd_T1w"), ("t2", "run-1_T2w")):
            save(root / folder / f"{stem}_{name}.nii.gz", anatomy(number, shape, kind))
        save(root / folder / f"{stem}_run-2_T2w.nii.gz", anatomy(number + 50, shape, "t2"))
        save(root / subject / "ses-a" / "func" / f"{stem}_task-rest_bold.nii.gz", anatomy(number, shape, "t1"))
        brain = (anatomy(number, shape, "t1") > 0).astype(np.uint8)
        save(root / "derivatives" / "strip" / folder / f"{stem}_desc-brain_mask.nii.gz", brain)
        save(root / "derivatives" / "strip" / folder / f"{stem}_desc-preproc_T1w.nii.gz", anatomy(number, shape, "t1"))
        if not healthy:
            mask = (lesion("bids", shape) > 0).astype(np.uint8)
            save(root / "derivatives" / "lesions" / folder / f"{stem}_label-lesion_mask.nii.gz", mask)
        lines.append(f"{subject}\t{30 + number}\t{'FM'[number % 2]}\tA\t{'control' if healthy else 'patient'}")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


def omnia(root: Path, numbers: Iterable[int], shape: Shape, sets: Iterable[str]) -> None:
    """Arrays of Brain-OmniA: the last set's copies of normal slices and edges lie beside them."""
    channels = {
        "BraTS2021": ("t1", "t2", "t1ce", "flair", "seg"), "MSD": ("flair", "t1", "t1ce", "t2", "seg"),
        "ISLES": ("adc", "dwi", "flair", "seg"), "WMH": ("t1", "flair", "seg"), "MSLUB": ("t1", "t2", "flair", "seg"),
        "IXI": ("t1", "t2", "pd"), "BRISC": ("t1", "seg"),
    }  # fmt: skip
    for name in sets:
        single = name == "BRISC"
        for place, number in enumerate(numbers):
            for k in range(1) if single else range(shape[2]):
                planes = []
                for kind in channels[name]:
                    volume = lesion(name, shape) if kind == "seg" else anatomy(number + 7 * len(name), shape, kind)
                    level = (3 if number % 2 else shape[2] - 2) if single else k  # every second picture shows no lesion
                    planes.append(volume[:, :, level].T.astype(float) / (1 if kind == "seg" else volume.max()))
                file = root / name / "train" / f"{place + 1 if single else 60 * place + k + 1}.npy"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, np.stack(planes))
                if name == "BraTS2021" and k == 0:
                    copy = root / name / "train_normal" / file.name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    np.save(copy, np.stack(planes))


def nova(root: Path, numbers: Iterable[int], shape: Shape) -> None:
    """NOVA: pictures with a table of boxes, of which one picture has two."""
    lines = ["filename,case_id,scan_id,x,y,width,height"]
    for place, number in enumerate(numbers):
        image = np.clip(anatomy(number, shape, "t2")[:, :, shape[2] // 2].T / 3, 0, 255).astype(np.uint8)
        save_png(root / "images" / f"case{number:04d}_001.png", image)
        lines += [
            f"case{number:04d}_001.png,{number},1,{4 + box},{5 + box},6,4" for box in range(2 if not place else 1)
        ]
    (root / "bboxes_gold.csv").write_text("\n".join(lines) + "\n")


def make_more(layout: str, root: Path, numbers: list[int], shape: Shape) -> bool:
    """Write a tree of one of these data sets; ``False`` if it is none of them."""
    makers = {
        "wmh2017": wmh, "isles2022": isles, "atlas": atlas, "msseg": msseg, "oasis": oasis, "bids": bids, "nova": nova,
    }  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    if layout in makers:
        makers[layout](root, numbers, shape)
    elif layout == "brisc":
        omnia(root, numbers, shape, ["BRISC"])
    elif layout == "brain-omnia":
        omnia(root, numbers, shape, ["BraTS2021", "ISLES", "IXI"])
    else:
        return False
    return True
