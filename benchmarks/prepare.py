"""What preparing raw scans costs, whether known moves come back, and how often a left-right flip is suspected.

``python benchmarks/prepare.py cost --cell CELL`` predicts a raw patient of three sequences with ``--raw`` in a process
of its own and prints seconds of each step, in total, and peak memory, with ratios to the goals; with several threads,
steps of several scans overlap. ``moves`` moves real patients 20 times for each pair of sequences, by up to 20 mm and
20 degrees, and registers them. ``flips`` exchanges left and right of real scans. All print CSV; ``--data`` holds
``brats2018-mini``, ``mslub`` and ``raw-heads``.

The patient of ``cost`` is made from a raw head of T1 and FLAIR: T1 on 1 mm voxels, FLAIR on 1 x 1 x 3 mm, and instead
of T2 the square root of T1 on 0.5 x 0.5 x 4 mm, moved by 8 mm and 5 degrees: contrast does not change the cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from scipy.spatial.transform import Rotation

from anyadbench.data.trees.volume import Volume, read_volume
from anyadbench.predict.geometry import Grid, grid_of, resample
from anyadbench.predict.prepare.extract import find_brain
from anyadbench.predict.prepare.flip import fit_and_mirrored
from anyadbench.predict.prepare.register import find_rigid
from anyadbench.predict.prepare.views import detail_of, view_of

GOAL_SECONDS, GOAL_GB = 60.0, 3.0
"""For a patient of three sequences on two cores without a GPU."""

MOVES, MOST_MM, MOST_DEGREES = 20, 20.0, 20.0
GOAL_MM, GOAL_DEGREES = 1.0, 1.0


@dataclass(frozen=True)
class Pair:
    """Two scans of one patient in one place, with their brains."""

    kind: str
    patient: str
    fixed: tuple[Volume, np.ndarray]
    moving: tuple[Volume, np.ndarray]


def patients(data: Path) -> dict[str, dict[str, Path]]:
    """Return the registered, stripped scans of each patient by sequence."""
    found: dict[str, dict[str, Path]] = {}
    for folder in sorted([*(data / "brats2018-mini").glob("*/*"), *(data / "mslub").iterdir()]):
        names = {path.name.removesuffix(".nii.gz").rpartition("_")[2].lower(): path for path in folder.glob("*.nii.gz")}
        found[folder.name] = {name: names[name] for name in ("flair", "t1", "t1ce", "t2") if name in names}
    return found


def stripped_pairs(data: Path, only_flair: bool) -> Iterator[Pair]:
    """Return each pair of sequences of the stripped patients, the earlier sequence fixed."""
    for patient, files in patients(data).items():
        volumes = {name: read_volume(path) for name, path in files.items()}
        scans = {name: (volume, volume.array != 0) for name, volume in volumes.items()}
        names = list(scans)
        for place, first in enumerate(names[:1] if only_flair else names):
            for other in names[place + 1 :]:
                yield Pair(f"{other} on {first}", patient, scans[first], scans[other])


def raw_pairs(data: Path) -> Iterator[Pair]:
    """Return FLAIR and T1 of the raw heads, with the brains that preparation finds."""
    for path in sorted((data / "raw-heads").glob("*_T1.nii.gz")):
        t1, flair = read_volume(path), read_volume(path.with_name(path.name.replace("_T1", "_FL")))
        yield Pair("raw flair on t1", path.name.partition("_")[0], (t1, find_brain(t1)), (flair, find_brain(flair)))


def random_move(chance: np.random.Generator, middle: np.ndarray) -> np.ndarray:
    """Return a rigid move of up to ``MOST_MM`` and ``MOST_DEGREES`` about a point, in any direction."""
    axis, way = chance.normal(size=3), chance.normal(size=3)
    move = np.eye(4)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.radians(MOST_DEGREES * chance.uniform()))
    move[:3, :3] = turn.as_matrix()
    move[:3, 3] = way / np.linalg.norm(way) * MOST_MM * chance.uniform() + middle - move[:3, :3] @ middle
    return move


def laid(fixed: Volume, moving: Volume) -> np.ndarray:
    """Return the move that preparation finds between two stripped scans."""
    both = [(volume, volume.array != 0) for volume in (fixed, moving)]
    first, second = (view_of(*one) for one in both)
    return find_rigid(first, second, details=(detail_of(*both[0]), detail_of(*both[1])))


def errors(left: np.ndarray, points: np.ndarray) -> tuple[float, float, float]:
    """Return mean and largest distance in mm by which a move shifts points, and its angle in degrees."""
    distance = np.linalg.norm(points @ left[:3, :3].T + left[:3, 3] - points, axis=1)
    angle = np.degrees(np.arccos(np.clip((np.trace(left[:3, :3]) - 1) / 2, -1, 1)))
    return float(distance.mean()), float(distance.max()), float(angle)


def moves(data: Path) -> None:
    """Print how far known moves are from coming back.

    ``given``: compared with the data set's own registration, which is not exact either; ``again``: compared with what
    the same two scans give without a move.
    """
    pairs = defaultdict(list)
    for pair in stripped_pairs(data, only_flair=True):
        pairs[pair.kind].append(pair)
    header = "pair,patients,moves,against,median_mean_mm,worst_mean_mm,worst_point_mm,worst_degrees,beyond_goal"
    print(header, flush=True)
    for kind, some in pairs.items():
        found: dict[str, list[tuple[float, float, float]]] = {"given": [], "again": []}
        plain: dict[str, np.ndarray] = {}
        chance = np.random.default_rng(7)
        for number in range(MOVES):
            pair = some[number % len(some)]
            fixed, volume = pair.fixed[0], pair.moving[0]
            points = np.argwhere(pair.fixed[1])[::300] @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
            if pair.patient not in plain:
                plain[pair.patient] = laid(fixed, volume)
            move = random_move(chance, points.mean(axis=0))
            array = resample(volume.array, Grid(volume.shape, move @ volume.affine), grid_of(volume))
            back = laid(fixed, replace(volume, array=array)) @ move
            found["given"].append(errors(back, points))
            found["again"].append(errors(back @ np.linalg.inv(plain[pair.patient]), points))
            note = [f"{value:.2f}" for name in found for value in found[name][-1]]
            print(kind, pair.patient, number, *note, file=sys.stderr, flush=True)
        for name, rows in found.items():
            mean, point, angle = np.array(rows).T
            beyond = int(((mean > GOAL_MM) | (angle > GOAL_DEGREES)).sum())
            figures = (np.median(mean), mean.max(), point.max(), angle.max())
            print(kind, len(some), MOVES, name, *(f"{v:.2f}" for v in figures), beyond, sep=",", flush=True)


def flips(data: Path) -> None:
    """Print for each pair how much better the mirror image fits, as given and with left and right exchanged."""
    print("pair,patient,flipped,as_given,mirrored,suspected", flush=True)
    counts = {False: [0, 0], True: [0, 0]}
    for pairs in (stripped_pairs(data, only_flair=False), raw_pairs(data)):
        for pair in pairs:
            fixed = view_of(*pair.fixed)
            for flipped in (False, True):
                volume, brain = pair.moving
                way = slice(None, None, -1 if flipped else 1)
                moving = view_of(replace(volume, array=volume.array[way].copy()), brain[way].copy())
                fit = fit_and_mirrored(fixed, moving.moved(find_rigid(fixed, moving)))
                suspected = fit.mirrored > fit.nmi
                counts[flipped][suspected] += 1
                numbers = (f"{fit.nmi:.4f}", f"{fit.mirrored:.4f}", int(suspected))
                print(pair.kind, pair.patient, int(flipped), *numbers, sep=",", flush=True)
    for flipped, (quiet, loud) in counts.items():
        print(f"{'flipped' if flipped else 'as given'}: {loud} of {quiet + loud} suspected", file=sys.stderr)


def raw_patient(data: Path, folder: Path) -> dict[str, Path]:
    """Write the three scans of ``cost``."""
    t1, flair = (read_volume(data / "raw-heads" / f"Subj1_{name}.nii.gz") for name in ("T1", "FL"))
    middle = t1.affine[:3, :3] @ ((np.array(t1.shape) - 1) / 2) + t1.affine[:3, 3]
    move = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec(np.radians(5) * np.array([0.6, 0.0, 0.8])).as_matrix()
    move[:3, 3] = np.array([4.8, 6.4, 0]) + middle - move[:3, :3] @ middle
    t2 = replace(t1, array=np.sqrt(np.maximum(t1.array, 0)), affine=move @ t1.affine)
    plan = {"t1": (t1, (1, 1, 1)), "flair": (flair, (1, 1, 3)), "t2": (t2, (0.5, 0.5, 4))}
    made = {}
    for name, (volume, steps) in plan.items():
        scale = np.array(steps) / volume.spacing
        x, y, z = (int(length) for length in np.array(volume.shape) / scale)
        affine = volume.affine @ np.diag([*scale, 1.0])
        array = resample(volume.array, grid_of(volume), Grid((x, y, z), affine), keep_background=False)
        made[name] = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), made[name])  # type: ignore[no-untyped-call]
    return made


def cost(data: Path, cell: Path, threads: int) -> None:
    """Print seconds of each step, in total, and peak memory of one prediction from raw scans."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = raw_patient(data, folder)
        print("the patient is made", file=sys.stderr, flush=True)
        given = [part for sequence, path in scans.items() for part in (f"--{sequence}", str(path))]
        options = ["--raw", "--threads", str(threads), "--cell", str(cell), "--out", str(folder / "out")]
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "anyadbench", "predict", *given, *options], check=True, stderr=sys.stderr)
        wall = time.monotonic() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        scores = json.loads((folder / "out" / "prediction.json").read_text())
    processor, memory = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9
    print("what,value,unit,share_of_goal")
    for step in scores["prepared"]:
        print(f"{step['name']} {step['sequence']},{step['seconds']:.1f},s,")
    print(f"these steps and prediction,{scores['seconds']:.1f},s,")
    print(f"start and reading and files,{wall - scores['seconds']:.1f},s,")
    print(f"wall-clock,{wall:.1f},s,{wall / GOAL_SECONDS:.2f}")
    print(f"CPU time,{processor:.1f},s,{processor / GOAL_SECONDS:.2f}")
    print(f"peak memory,{memory:.2f},GB,{memory / GOAL_GB:.2f}")
    print(f"load of the machine,{os.getloadavg()[0]:.1f},processes,")


def main() -> None:
    """Print one of the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "moves", "flips"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ANYADBENCH_SHARED", ".")) / "data")
    parser.add_argument("--cell", type=Path, help="a finished cell, for cost")
    parser.add_argument("--threads", type=int, default=2, help="of cost")
    given = parser.parse_args()
    if given.what == "cost":
        if given.cell is None:
            parser.error("cost needs --cell")
        cost(given.data, given.cell, given.threads)
    else:
        (moves if given.what == "moves" else flips)(given.data)


if __name__ == "__main__":
    main()
