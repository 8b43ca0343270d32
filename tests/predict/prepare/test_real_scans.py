"""Preparation of real scans; they are not part of the project."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from anyadbench.data.trees.volume import read_volume
from anyadbench.errors import UserError
from anyadbench.predict.geometry import Grid, grid_of, resample
from anyadbench.predict.inputs import read_inputs
from anyadbench.predict.prepare.extract import OUTLINER, find_brain, model_file
from anyadbench.predict.prepare.flip import fit_and_mirrored
from anyadbench.predict.prepare.pipeline import prepare_inputs
from anyadbench.predict.prepare.plan import parse_plan
from anyadbench.predict.prepare.quality import LOW_NMI, LOW_OVERLAP, fit_of
from anyadbench.predict.prepare.register import find_rigid
from anyadbench.predict.prepare.views import detail_of, view_of

pytest.importorskip("SimpleITK", reason="needs the extra prepare (SimpleITK)")

SHARED = Path(os.environ.get("ANYADBENCH_SHARED", "")) / "data"

real = pytest.mark.skipif(
    not os.environ.get("ANYADBENCH_SHARED") or not (SHARED / "mslub").is_dir(),
    reason="ANYADBENCH_SHARED does not name a folder with data/mslub",
)

raw = pytest.mark.skipif(
    not os.environ.get("ANYADBENCH_SHARED") or not (SHARED / "raw-heads").is_dir(),
    reason="ANYADBENCH_SHARED does not name a folder with data/raw-heads",
)


@real
@pytest.mark.slow
@pytest.mark.parametrize("other", ["T1", "T2"])
def test_known_moves_come_back_within_a_millimetre_and_a_degree(other: str) -> None:
    reference, scan = (read_volume(SHARED / "mslub" / "patient26" / f"{name}.nii.gz") for name in ("FLAIR", other))
    fixed, fine = view_of(reference, reference.array != 0), detail_of(reference, reference.array != 0)
    points = np.argwhere(fixed.brain)[::200] @ fixed.grid.affine[:3, :3].T + fixed.grid.affine[:3, 3]
    middle, chance = points.mean(axis=0), np.random.default_rng(3)
    for _ in range(3):
        axis, way = chance.normal(size=3), chance.normal(size=3)
        move = np.eye(4)
        turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(20 * chance.uniform()))
        move[:3, :3] = turn.as_matrix()
        move[:3, 3] = way / np.linalg.norm(way) * 20 * chance.uniform() + middle - move[:3, :3] @ middle
        array = resample(scan.array, Grid(scan.shape, move @ scan.affine), grid_of(scan))
        moving = view_of(replace(scan, array=array), array != 0)
        found = find_rigid(fixed, moving, details=(fine, detail_of(replace(scan, array=array), array != 0)))
        left = found @ move
        error = np.linalg.norm(points @ left[:3, :3].T + left[:3, 3] - points, axis=1)
        assert error.max() < 1.0
        assert np.degrees(np.arccos(np.clip((np.trace(left[:3, :3]) - 1) / 2, -1, 1))) < 1.0
        assert not fit_of(fixed, moving.moved(found)).poor


@real
@pytest.mark.slow
def test_a_flipped_scan_is_suspected_and_the_same_scan_as_given_is_not() -> None:
    flair, t1 = (read_volume(SHARED / "mslub" / "patient07" / f"{name}.nii.gz") for name in ("FLAIR", "T1"))
    fixed = view_of(flair, flair.array != 0)
    for way, suspected in ((1, False), (-1, True)):
        array = t1.array[::way].copy()
        moving = view_of(replace(t1, array=array), array != 0)
        fit = fit_and_mirrored(fixed, moving.moved(find_rigid(fixed, moving)))
        assert ("A left-right flip of T1 or F is suspected" in fit.warning("t1", "flair", True)) == suspected


@real
def test_the_figures_tell_good_pairs_from_shifted_ones() -> None:
    flair, t1 = (read_volume(SHARED / "mslub" / "patient07" / f"{name}.nii.gz") for name in ("FLAIR", "T1"))
    fixed, other = (view_of(volume, volume.array != 0) for volume in (flair, t1))
    good = fit_of(fixed, other)
    assert good.nmi > 2 * (LOW_NMI - 1) + 1 and good.overlap > 0.95 and not good.warning("t1", "flair", False)
    for axis in range(3):
        shift = np.eye(4)
        shift[axis, 3] = 15
        bad = fit_of(fixed, other.moved(shift))
        assert bad.nmi < LOW_NMI and bad.overlap < LOW_OVERLAP
        assert "T1 does not fit F well" in bad.warning("t1", "flair", False)
    assert "T1 and F are one image" in fit_of(fixed, fixed).warning("t1", "flair", False)


@raw
@pytest.mark.slow
def test_a_raw_head_of_two_grids_is_laid_together_and_stripped() -> None:
    try:
        model_file(OUTLINER)
    except UserError as error:
        pytest.skip(str(error))
    folder = SHARED / "raw-heads"
    inputs = read_inputs({"t1": folder / "Subj10_T1.nii.gz", "flair": folder / "Subj10_FL.nii.gz"}, None)
    found = prepare_inputs(inputs, parse_plan("auto"))
    assert [step.name for step in found.steps] == [
        "find brain", "find brain", "check", "register", "check left and right", "strip",
    ]  # fmt: skip
    assert not found.warnings
    assert 1200 < found.steps[-1].figures["volume_ml"] < 1600
    lesions = read_volume(folder / "Subj10_FL_DLWMLS.nii.gz").array > 0
    assert (found.inputs[1].volume.array[lesions] != 0).mean() > 0.99
    flipped = replace(inputs[1], volume=replace(inputs[1].volume, array=inputs[1].volume.array[::-1].copy()))
    wrong = prepare_inputs([inputs[0], flipped], parse_plan("auto"))
    assert any("left-right flip of" in warning for warning in wrong.warnings)


@raw
@pytest.mark.slow
def test_a_flip_is_found_in_a_head_that_lies_turned() -> None:
    try:
        model_file(OUTLINER)
    except UserError as error:
        pytest.skip(str(error))
    t1, flair = (read_volume(SHARED / "raw-heads" / f"Subj11_{name}.nii.gz") for name in ("T1", "FL"))
    fixed, brain = view_of(t1, find_brain(t1)), find_brain(flair)
    for way, suspected in ((1, False), (-1, True)):
        moving = view_of(replace(flair, array=flair.array[::way].copy()), brain[::way].copy())
        fit = fit_and_mirrored(fixed, moving.moved(find_rigid(fixed, moving)))
        assert (fit.mirrored > fit.nmi) == suspected
