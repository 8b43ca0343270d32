"""The embedded phantom: its appearance, and that it is the same every time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anyadbench.data.phantom import PhantomSpec, anatomy, digest, generate, missing_sequence, subject_id, synthesise
from anyadbench.data.phantom.fields import smooth_noise
from anyadbench.data.phantom.grid import block
from anyadbench.data.phantom.head import grow
from anyadbench.data.phantom.spec import stream
from anyadbench.errors import UserError
from anyadbench.sequences import COMMON

TINY = PhantomSpec.tiny()
MEDIUM = PhantomSpec("phantom-medium", subjects=12, shape=(96, 96, 40), spacing=(2.5, 2.5, 4.0), healthy=0)
COMPLETE = [number for number in range(1, MEDIUM.subjects + 1) if missing_sequence(MEDIUM, number) is None]


def files(root: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a tree by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("phantom") / "tree", TINY)


@pytest.fixture(scope="module")
def subject() -> dict[str, np.ndarray]:
    return synthesise(MEDIUM, COMPLETE[0])


@pytest.fixture(scope="module")
def tissue_medians(subject: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    head = grow(MEDIUM, COMPLETE[0], block(MEDIUM))
    healthy = head.brain & (subject["seg"][head.grid.box] == 0)
    pure = {name: healthy & (head.shares[name] > (0.7 if name == "csf" else 0.9)) for name in ("wm", "gm", "csf")}
    return {
        sequence: {name: float(np.median(subject[sequence][head.grid.box][mask])) for name, mask in pure.items()}
        for sequence in COMMON
    }


def ranking(values: np.ndarray, lesion: np.ndarray) -> float:
    """Return the share of pairs in which a lesion voxel is brighter than a healthy one."""
    healthy = np.sort(values[~lesion])
    return float(np.searchsorted(healthy, values[lesion]).mean() / len(healthy))


def lesion_ranking(spec: PhantomSpec, sequence: str) -> float:
    """Return the mean ranking over subjects, in slices with lesions."""
    rankings = []
    for number in range(1, 7):
        volumes = synthesise(spec, number)
        if sequence not in volumes:
            continue
        image, seg = volumes[sequence], volumes["seg"] > 0
        among = (image > 0) & seg.any(axis=(0, 1))
        rankings.append(ranking(image[among], seg[among]))
    return float(np.mean(rankings))


def test_a_subject_is_the_same_at_every_call() -> None:
    first, second = synthesise(TINY, 3), synthesise(TINY, 3)
    assert all(np.array_equal(first[key], second[key]) for key in first | second)


def test_a_subject_does_not_depend_on_how_many_there_are() -> None:
    assert np.array_equal(synthesise(TINY, 1)["seg"], synthesise(replace(TINY, subjects=1), 1)["seg"])
    assert np.array_equal(synthesise(TINY, 1)["t2"], synthesise(replace(TINY, subjects=1), 1)["t2"])


def test_seeds_and_subjects_differ() -> None:
    images = [synthesise(spec, n)["seg"] for spec, n in ((TINY, 1), (TINY, 2), (PhantomSpec.tiny(seed=1), 1))]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_files_are_the_same_bytes_for_any_number_of_workers(tree: Path, tmp_path: Path) -> None:
    assert files(generate(tmp_path / "other", TINY, workers=2)) == files(tree)


def test_an_interrupted_tree_is_completed_to_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "resumed"

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(root, TINY, progress=interrupt)
    assert not (root / "phantom.json").exists()
    kept = root / "HGG" / subject_id(1)
    before = kept.stat().st_mtime_ns
    seen: list[tuple[int, int]] = []
    generate(root, TINY, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(2, 9)]
    assert kept.stat().st_mtime_ns == before
    assert files(root) == files(tree)


def test_half_written_folders_are_cleaned_only_when_old(tmp_path: Path) -> None:
    spec = PhantomSpec.tiny(subjects=1)
    old, young = (tmp_path / "HGG" / f".{subject_id(1)}.{end}" for end in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "x_flair.nii.gz").write_bytes(b"half")
    os.utime(old, (0, 0))
    generate(tmp_path, spec)
    assert not old.exists()
    assert young.exists()
    assert (tmp_path / "HGG" / subject_id(1)).is_dir()


def test_a_complete_tree_is_left_alone(tree: Path) -> None:
    seen: list[tuple[int, int]] = []
    before = files(tree)
    generate(tree, TINY, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 8)]
    assert files(tree) == before


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-100])])
@pytest.mark.parametrize("kind", ["flair", "seg"])
def test_only_a_lost_or_truncated_file_is_made_again(
    damage: Callable[[Path], object], kind: str, tree: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tree, tmp_path / "tree"))
    number = next(number for number in range(1, 9) if missing_sequence(TINY, number) != kind)
    folder = root / "HGG" / subject_id(number)
    lost = folder / f"{subject_id(number)}_{kind}.nii.gz"
    kept = {path: path.stat() for path in root.glob("HGG/*/*.nii.gz") if path != lost}
    damage(lost)
    seen: list[tuple[int, int]] = []
    generate(root, TINY, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(7, 8), (8, 8)]
    assert files(root) == files(tree)
    for path, before in kept.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_subject_that_another_process_finished_first_is_kept(tree: Path, tmp_path: Path) -> None:
    from anyadbench.data.phantom import write

    root = Path(shutil.copytree(tree, tmp_path / "tree"))
    before = {path: path.stat().st_ino for path in root.rglob("*")}
    write._write_subject(root, TINY, 1)
    assert {path: path.stat().st_ino for path in root.rglob("*")} == before


def test_phantom_json_contains_the_specification(tree: Path) -> None:
    written = json.loads((tree / "phantom.json").read_text(encoding="utf-8"))
    assert written["digest"] == digest(TINY)
    assert written["spec"]["shape"] == [48, 48, 20]
    assert not (tree / "phantom.begun.json").exists()


def test_digests_differ_between_specifications() -> None:
    specs = [TINY, PhantomSpec(), PhantomSpec.tiny(seed=1), PhantomSpec.tiny(shift=True), PhantomSpec.tiny(healthy=1)]
    assert len({digest(spec) for spec in specs}) == len(specs)


def test_missing_sequences_are_not_written(tree: Path) -> None:
    lacking = 0
    for number in range(1, TINY.subjects + 1):
        absent = missing_sequence(TINY, number)
        lacking += absent is not None
        names = {path.name for path in (tree / "HGG" / subject_id(number)).iterdir()}
        kinds = {*COMMON, "seg"} - {absent}
        assert names == {f"{subject_id(number)}_{kind}.nii.gz" for kind in kinds}
    assert lacking >= 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_patient_in_six_lacks_a_sequence_and_every_sequence_has_its_turn(seed: int) -> None:
    spec = PhantomSpec(seed=seed)
    absent = [missing_sequence(spec, number) for number in range(1, spec.subjects + 1)]
    assert sum(name is not None for name in absent[:36]) == 6
    assert {name for name in absent if name} == set(COMMON)


def test_files_have_the_grid_of_brats(tree: Path) -> None:
    image: Any = nibabel.load(tree / "HGG" / subject_id(1) / f"{subject_id(1)}_flair.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")  # type: ignore[no-untyped-call]
    assert image.affine.tolist() == [[-4.5, 0, 0, 0], [0, -4.5, 0, 211.5], [0, 0, 7.5, 0], [0, 0, 0, 1]]
    assert np.array_equal(np.asarray(image.dataobj), synthesise(TINY, 1)["flair"])


def test_the_head_is_the_right_way_up_and_round() -> None:
    ventricles = np.argwhere(grow(MEDIUM, 1, block(MEDIUM)).ventricles > 0.8).mean(axis=0)
    brain = grow(MEDIUM, 1, block(MEDIUM)).brain
    front, back = brain[:, : brain.shape[1] // 2, :10].sum(), brain[:, brain.shape[1] // 2 :, :10].sum()
    assert back > front, "the lowest slices hold the cerebellum, which lies behind"
    assert abs(ventricles[0] - brain.shape[0] / 2) < 5
    assert ventricles[2] < np.argwhere(brain)[:, 2].max() - 10


def test_background_is_zero_and_one_mask_serves_all_sequences(subject: dict[str, np.ndarray]) -> None:
    brain = subject["flair"] > 0
    assert all(np.array_equal(subject[name] > 0, brain) for name in COMMON)
    assert all(subject[name].dtype == np.int16 for name in COMMON)
    assert not brain[0].any() and not brain[:, 0].any() and not brain[-1].any() and not brain[:, -1].any()
    assert 0.1 < brain.mean() < 0.35
    assert not (subject["seg"][~brain] > 0).any()


def test_labels_are_those_of_brats_2018() -> None:
    found = {int(v) for n in range(1, 7) for v in np.unique(synthesise(TINY, n)["seg"])}
    assert found == {0, 1, 2, 4}
    assert synthesise(TINY, 1)["seg"].dtype == np.uint8


def test_t1_shows_white_over_grey_over_fluid(tissue_medians: dict[str, dict[str, float]]) -> None:
    for sequence in ("t1", "t1ce"):
        median = tissue_medians[sequence]
        assert median["wm"] > 1.2 * median["gm"] > 2.4 * median["csf"]


def test_t2_shows_fluid_over_grey_over_white(tissue_medians: dict[str, dict[str, float]]) -> None:
    median = tissue_medians["t2"]
    assert median["csf"] > 1.4 * median["gm"] > 1.45 * median["wm"]


def test_flair_shows_grey_a_little_over_white_and_dark_fluid(tissue_medians: dict[str, dict[str, float]]) -> None:
    median = tissue_medians["flair"]
    assert 0.85 < median["gm"] / median["wm"] < 1.45
    assert median["csf"] < 0.6 * median["wm"]


def test_contrast_agent_brightens_the_rim_only_after_it_is_given() -> None:
    number = next(n for n in COMPLETE if (synthesise(MEDIUM, n)["seg"] == 4).sum() > 50)
    volumes = synthesise(MEDIUM, number)
    rim, white = volumes["seg"] == 4, {name: np.percentile(volumes[name][volumes[name] > 0], 75) for name in COMMON}
    after, before = (np.median(volumes[name][rim]) / white[name] for name in ("t1ce", "t1"))
    assert after > 1.2 * before
    assert before < 1


def test_contrast_agent_brightens_vessels_and_meninges(subject: dict[str, np.ndarray]) -> None:
    healthy = (subject["seg"] == 0) & (subject["t1"] > 0)
    top = {name: np.percentile(subject[name][healthy], [99.9, 75]) for name in ("t1", "t1ce")}
    assert top["t1ce"][0] / top["t1ce"][1] > 1.1 * top["t1"][0] / top["t1"][1]


def test_lesions_are_plain_in_flair_less_so_in_t2_and_faint_in_t1() -> None:
    assert 0.85 < lesion_ranking(MEDIUM, "flair") < 0.995
    assert 0.7 < lesion_ranking(MEDIUM, "t2") < 0.93
    # Darker than most tissue, but far less clearly than they are bright in FLAIR.
    assert 0.2 < lesion_ranking(MEDIUM, "t1") < 0.48


def test_the_shifted_phantom_has_many_small_lesions_of_one_kind() -> None:
    from scipy import ndimage

    volumes = synthesise(replace(MEDIUM, shift=True), 2)
    labels = volumes["seg"]
    assert set(np.unique(labels)) == {0, 2}
    _, count = ndimage.label(labels, np.ones((3, 3, 3)))
    assert count >= 3
    assert (labels > 0).sum() * np.prod(MEDIUM.spacing) < 30_000
    assert lesion_ranking(replace(MEDIUM, shift=True), "flair") > 0.85


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_subject_has_slices_with_and_far_from_lesions(seed: int) -> None:
    spec = PhantomSpec.tiny(seed=seed)
    field = spec.shape[0] * spec.shape[1]
    for number in range(1, spec.subjects + 1):
        volumes = synthesise(spec, number)
        brain = next(volumes[name] for name in COMMON if name in volumes) > 0
        area = (volumes["seg"] > 0).sum(axis=(0, 1))
        lesion = np.flatnonzero(area)
        far = np.abs(np.arange(spec.shape[2])[:, None] - lesion).min(axis=1) >= 2
        usable = brain.sum(axis=(0, 1)) >= 0.1 * field
        assert (usable & (area >= 4)).any()
        assert (usable & far).sum() >= 2


def test_smooth_noise_has_unit_variance_and_no_steps() -> None:
    noise = smooth_noise(stream(TINY, 1, "test"), (90, 90, 90), (1.0, 1.0, 1.0), 5.0)
    assert abs(float(noise.mean())) < 0.1
    assert 0.85 < float(noise.std()) < 1.15
    assert float(np.diff(noise, axis=0).std()) < 0.35


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"version": 99}, "version 99 is not available"),
        ({"subjects": 0}, "use 1 to 999"),
        ({"healthy": 1000}, "healthy=1000; use 0 to 999"),
        ({"shape": (8, 192, 62)}, "at least 16 voxels"),
        ({"spacing": (0.1, 1.25, 2.5)}, "spans 140 to 400 mm"),
        ({"spacing": (-1.25, 1.25, 2.5)}, "spans 140 to 400 mm"),
    ],
)
def test_impossible_specifications_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(PhantomSpec(), **values)  # type: ignore[arg-type]


def test_unknown_subjects_are_refused() -> None:
    with pytest.raises(UserError, match="no subject 9; use 1 to 8"):
        synthesise(TINY, 9)
    with pytest.raises(UserError, match="no subject 9; use 1 to 8, or 1001 to 1002"):
        synthesise(PhantomSpec.tiny(healthy=2), 9)


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers=0"):
        generate(tmp_path, TINY, workers=0)


def test_another_phantoms_folder_is_refused(tree: Path) -> None:
    with pytest.raises(UserError, match="holds another phantom"):
        generate(tree, PhantomSpec.tiny(seed=1))


def test_a_broken_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "phantom.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match="not a phantom's description"):
        generate(tmp_path, TINY)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"file cannot be written \(Not a directory\); name a folder"):
        generate(tmp_path / "file", TINY)


def test_missing_maps_are_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    anatomy.template.cache_clear()
    monkeypatch.setattr(anatomy, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install nilearn"):
        synthesise(TINY, 1)


def test_a_nilearn_without_the_maps_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    anatomy.template.cache_clear()
    monkeypatch.setattr(anatomy, "_FILE", "nothing_{}.nii.gz")
    with pytest.raises(UserError, match="is missing from the installed nilearn"):
        synthesise(TINY, 1)


def test_a_disk_that_fills_up_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from anyadbench.data.phantom import write

    def full(path: Path, values: np.ndarray, spec: PhantomSpec) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "_write_volume", full)
    with pytest.raises(UserError, match=r"disk is full while writing .*/tree; free .*, or set ANYADBENCH_CACHE to"):
        generate(tmp_path / "tree", PhantomSpec.tiny(1), option="ANYADBENCH_CACHE")
