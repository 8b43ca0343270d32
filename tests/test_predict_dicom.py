"""DICOM series as inputs of prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import anyadbench
from anyadbench.data.volume import read_volume
from anyadbench.errors import UserError
from anyadbench.predict.dicom import read_series

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(image: Any, folder: Path, uid: str) -> None:
    """Write a NIfTI image as one DICOM file per slice."""
    itk = pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")
    affine = LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    array = np.asarray(image.dataobj).astype(np.int16)
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(array.shape[2]):
        one = itk.GetImageFromArray(array[:, :, k].T)
        one.SetSpacing([float(spacing[0]), float(spacing[1])])
        position = affine[:3, :3] @ (0, 0, k) + affine[:3, 3]
        tags = {
            "0008|0060": "MR", "0020|000e": uid, "0020|000d": "1.2.3", "0008|0018": f"{uid}.{k + 1}",
            "0020|0032": "\\".join(f"{v:.6f}" for v in position), "0020|0013": str(k + 1),
            "0020|0037": "\\".join(f"{v:.6f}" for v in direction[:, :2].T.ravel()),
            "0018|0050": f"{spacing[2]:.6f}", "0018|0088": f"{spacing[2]:.6f}",
        }  # fmt: skip
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{k:03d}.dcm"))
        writer.Execute(one)


def test_a_series_is_predicted_as_its_nifti_file_is(
    trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    path = tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz"
    source = nibabel.load(path)
    write_series(source, tmp_path / "series", "1.2.3.4")
    predictor = anyadbench.load(trained_cells["pixelstats"])
    plain, found = predictor.predict({"flair": path}), predictor.predict({"flair": tmp_path / "series"})
    np.testing.assert_array_equal(found.grid_maps, plain.grid_maps)
    found.save(tmp_path / "out")
    written, own = read_volume(tmp_path / "out" / "anomaly.nii.gz"), read_volume(path)
    np.testing.assert_allclose(written.affine, own.affine, atol=1e-4)
    assert written.shape == own.shape


def test_folders_without_one_series_are_refused(tiny_phantom: Path, tmp_path: Path) -> None:
    source = nibabel.load(tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz")
    write_series(source, tmp_path / "two", "1.2.3.4")
    write_series(source, tmp_path / "two", "1.2.3.5")
    with pytest.raises(UserError, match="holds 2 DICOM series where one is needed; give the folder of one series"):
        read_series(tmp_path / "two")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no DICOM series where one is needed"):
        read_series(tmp_path / "none")


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"reading DICOM needs SimpleITK: 'pip install anyadbench\[dicom\]', or give"):
        read_series(tmp_path)
