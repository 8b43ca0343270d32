"""Writing a phantom as a BraTS tree: in parallel, resumable, and with the same bytes every time."""

from __future__ import annotations

import gzip
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from anyadbench.data.phantom.grid import affine
from anyadbench.data.phantom.spec import PhantomSpec, as_json, digest, missing_sequence, subject_id
from anyadbench.data.phantom.subject import synthesise
from anyadbench.errors import DiskError, UserError
from anyadbench.files import atomic_file, make_folder, rename, write_text
from anyadbench.folders import temporary_folder, written_as
from anyadbench.processes import end_pool_process, without_current_folder
from anyadbench.sequences import COMMON

_GRADE = "HGG"
_DONE, _BEGUN = "phantom.json", "phantom.begun.json"
_STALE_SECONDS = 900.0
_HEADER_BYTES = 352


def _write_volume(path: Path, values: np.ndarray, spec: PhantomSpec) -> None:
    """Write one NIfTI file whose bytes depend on its content alone."""
    import nibabel

    image: Any = nibabel.nifti1.Nifti1Image(values, affine(spec))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine(spec), code=1)
    image.set_sform(affine(spec), code=1)
    # A gzip header holds a file name and a time unless told otherwise.
    with (
        atomic_file(path, fsync=False) as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())


def _write_subject(root: Path, spec: PhantomSpec, number: int) -> int:
    """Write one subject's folder in one step; in an existing folder, replace only files that are not whole."""
    name = subject_id(number)
    parent = root / _GRADE
    with temporary_folder(parent / name) as partial:
        for kind, values in synthesise(spec, number).items():
            _write_volume(partial / f"{name}_{kind}.nii.gz", values, spec)
        try:
            rename(partial, parent / name)
        except DiskError:
            if not (parent / name).is_dir():
                raise
            # Another process was faster, or files were lost since. Another process may be reading the folder, so it is
            # never removed: each file is replaced in one step, and its bytes are the same either way.
            for path in partial.iterdir():
                if not _is_whole(parent / name / path.name, spec):
                    rename(path, parent / name / path.name)
    return number


def _write_json(path: Path, spec: PhantomSpec) -> None:
    write_text(path, json.dumps({"digest": digest(spec), "spec": as_json(spec)}, indent=2) + "\n")


def _check_same(root: Path, spec: PhantomSpec) -> None:
    """Refuse a folder that holds, or was begun for, another phantom."""
    for path in (root / _DONE, root / _BEGUN):
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is not a phantom's description ({error}); remove the folder {root}.") from error
        if found != digest(spec):
            raise UserError(
                f"{root} holds another phantom ({found}, wanted {digest(spec)}); name another folder or remove it."
            )


def _clean(parent: Path) -> None:
    """Remove folders that a killed run left half written; a recent one may belong to a concurrent run."""
    for path in parent.glob(".Phantom*"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _is_whole(path: Path, spec: PhantomSpec) -> bool:
    """Whether a file exists and was not truncated: gzip ends with the uncompressed size."""
    size = _HEADER_BYTES + math.prod(spec.shape) * (1 if path.name.endswith("_seg.nii.gz") else 2)
    try:
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little") == size % 2**32
    except OSError:
        return False


def _is_complete(root: Path, spec: PhantomSpec, number: int) -> bool:
    name = subject_id(number)
    kinds = {*COMMON, "seg"} - {missing_sequence(spec, number)}
    return all(_is_whole(root / _GRADE / name / f"{name}_{kind}.nii.gz", spec) for kind in kinds)


def _written(root: Path, spec: PhantomSpec, wanted: list[int], workers: int) -> Iterator[int]:
    """Write subjects, here or in worker processes, and yield each number when it is done."""
    if workers <= 1:
        for number in wanted:
            yield _write_subject(root, spec, number)
        return
    # Spawned, not forked: the caller may have threads, and torch, loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_pool_process) as pool:
        with without_current_folder():
            futures = [pool.submit(_write_subject, root, spec, number) for number in wanted]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def generate(
    root: Path,
    spec: PhantomSpec = PhantomSpec(),
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    option: str = "",
) -> Path:
    """Write a phantom below ``root``, keeping subjects that are already complete.

    A file that is missing or truncated is written again.
    The files are ``HGG/Phantom_NNN_1/Phantom_NNN_1_{flair,t1,t1ce,t2,seg}.nii.gz``, and ``phantom.json`` at the end.
    The bytes do not depend on ``workers``. Worker processes are spawned, so a script that asks for several needs the
    usual ``if __name__ == "__main__"``.

    Args:
        root: Folder to write to; created if need be.
        spec: What to make.
        progress: Called with the number of subjects that are there and the number wanted.
        workers: Processes to use.
        option: Name of the option or variable that chose ``root``, for the sentence about a full disk.

    Raises:
        UserError: If ``root`` holds another phantom or cannot be written, ``workers`` is below 1, or nilearn's maps are
            missing.
    """
    if workers < 1:
        raise UserError(f"workers={workers} cannot generate a phantom; use 1 or more.")
    root = Path(root)
    with written_as(root, root / _GRADE, option):
        _generate(root, spec, progress or (lambda done, total: None), workers)
    return root


def _generate(root: Path, spec: PhantomSpec, report: Callable[[int, int], None], workers: int) -> None:
    make_folder(root / _GRADE)
    _check_same(root, spec)
    if not (root / _DONE).is_file():
        _write_json(root / _BEGUN, spec)
    _clean(root / _GRADE)
    wanted = [number for number in spec.numbers if not _is_complete(root, spec, number)]
    total = len(spec.numbers)
    done = total - len(wanted)
    report(done, total)
    for _ in _written(root, spec, wanted, min(workers, len(wanted))):
        done += 1
        report(done, total)
    _write_json(root / _DONE, spec)
    (root / _BEGUN).unlink(missing_ok=True)
