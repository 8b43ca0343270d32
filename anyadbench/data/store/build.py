"""Building a slice store from a tree: parallel over scans, resumable after a kill, and complete or absent."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from anyadbench.data.store.assemble import (
    assemble,
    spacing_warnings,
    write_json,
    write_quarantine,
)
from anyadbench.data.store.extract import Extracted, extract, fingerprint, light, part_name
from anyadbench.data.store.heap import kept_heap
from anyadbench.data.store.parts import Parts, read_meta
from anyadbench.data.store.remarks import read_problems, write_warnings
from anyadbench.data.store.store import SliceStore, is_store, open_store, store_json
from anyadbench.data.store.verified import remember
from anyadbench.data.trees.duplicates import find_duplicates
from anyadbench.data.trees.files import ScanFiles, Survey
from anyadbench.data.trees.layouts import Layout, get_layout
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.scan_slices import FORMAT
from anyadbench.data.trees.survey import check_source, survey
from anyadbench.errors import UserError
from anyadbench.files import CACHE, lock, rename
from anyadbench.folders import written_as
from anyadbench.hashing import stable_hash
from anyadbench.paths import cache_dir
from anyadbench.progress import Progress

S = TypeVar("S")
T = TypeVar("T")


def prepare(
    source: str | Path,
    layout: Layout,
    out: str | Path,
    *,
    workers: int = 2,
    quarantine: bool = False,
    progress: Progress | None = None,
    option: str = "--out",
) -> SliceStore:
    """Build a slice store, or open it if it was built from the same files.

    While the store is being built, finished scans are kept beside the target, so a killed run resumes where it
    stopped. The bytes do not depend on ``workers``.

    Args:
        source: Folder with the data set.
        layout: How it lies on disk.
        out: Folder to create.
        workers: Number of scans read at a time.
        quarantine: Leave bad scans out and list them in ``quarantine.json`` instead of raising.
        progress: Called after each scan.
        option: Name of the option or variable that chose the target, for the sentence about a full disk.

    Raises:
        UserError: If the source is not such a tree or holds a bad scan, the target exists, or the disk is full.
    """
    source, out = check_source(Path(source)), Path(os.path.abspath(out))
    _check_target(source, out)
    found = survey(source, layout)
    inputs = inputs_hash(found, layout)
    made = False
    lock_file = out.parent / f".{out.name}.lock"
    with written_as(out, _work(out), option), lock(lock_file, option=option), kept_heap():
        try:
            if not is_store(out):
                _build(found, layout, out, inputs, workers, quarantine, progress)
                made = True
            else:
                shutil.rmtree(_work(out), ignore_errors=True)
        finally:
            lock_file.unlink(missing_ok=True)
    store = _reuse(source, layout, out, inputs, quarantine)
    if made:
        remember(store)
    return store


def default_target(source: Path, layout: Layout) -> Path:
    """Return the cache folder for the present files of a tree."""
    found = survey(check_source(Path(source)), layout)
    return cache_dir() / "stores" / f"{layout.name}-{inputs_hash(found, layout)[:16]}"


def inputs_hash(found: Survey, layout: Layout) -> str:
    """Hash of the format, the layout, and the names, sizes and times of the files of every scan."""
    return stable_hash([FORMAT, [fingerprint(scan, layout) for scan in found.scans], [p.file for p in found.problems]])


def each(
    items: Sequence[ScanFiles], work: Callable[[ScanFiles], T], workers: int, progress: Progress | None, label: str
) -> list[T]:
    """Run ``work`` on every scan in threads and return the results in the order of the scans.

    Decompression, hashing and NumPy release the GIL, so threads suffice and nothing is copied between processes.
    """
    results: dict[int, T] = {}
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        futures = {pool.submit(work, item): index for index, item in enumerate(items)}
        for future in as_completed(futures):
            index = futures[future]
            results[index] = future.result()
            if progress is not None:
                progress(len(results), len(items), label)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[index] for index in range(len(items))]


def _build(
    found: Survey, layout: Layout, out: Path, inputs: str, workers: int, quarantine: bool, progress: Progress | None
) -> None:
    source = found.scans[0].root if found.scans else Path()
    problems = list(found.problems)
    _refuse(source, layout, problems, quarantine)
    work = _work(out)
    parts = Parts(work)
    try:
        with parts:
            metas = _extracted(found.scans, layout, parts, workers, progress)
    finally:
        if not any(parts.metas.iterdir()):  # if no scan was finished, nothing is left to resume from
            shutil.rmtree(work)
    problems += [Problem(**item) for meta in metas for item in meta["problems"]]
    metas = [meta for meta in metas if meta["part"] is not None]
    twins = find_duplicates({m["scan"]: (m["subject"], m["hashes"], m["file"]) for m in metas})
    problems += twins
    _refuse(source, layout, problems, quarantine)
    out_of_it = {problem.scan for problem in errors(twins)}
    metas = [meta for meta in metas if meta["scan"] not in out_of_it]
    if not metas:
        raise UserError(
            f"No scan of {layout.name} in {source} can be used; "
            f"`anyadbench data verify {layout.name} --source {source}` shows why."
        )
    problems += spacing_warnings(metas)
    if out_of_it:  # the pixels of the twins that are left out are not in the store either
        with Parts(work) as parts:
            for meta in metas:
                parts.keep(Path(meta["part"]).stem)
    folder = parts.folder
    assemble(metas, layout, folder, workers)
    write_quarantine(folder, sorted(errors(problems)))
    named = set(found.problems)  # an absent sequence is no news in a run
    write_warnings(folder, [problem for problem in problems if problem not in named])
    write_json(folder / "inputs.json", {"inputs": inputs})
    rename(folder, out)
    shutil.rmtree(work)


def _extracted(
    scans: Sequence[ScanFiles], layout: Layout, parts: Parts, workers: int, progress: Progress | None
) -> list[dict[str, Any]]:
    """Write the scans in their order and return their metas, without what is large."""
    names = [part_name(scan, layout) for scan in scans]

    def work(place: int) -> Extracted | None:
        return None if parts.finished(names[place]) else extract(scans[place], layout)

    metas = []
    for place, made in enumerate(in_turn(range(len(scans)), work, workers)):
        if made is not None and made.pixels is None:
            metas.append({**made.meta, "part": None})
        else:
            name = names[place]
            part = parts.keep(name) if made is None or made.pixels is None else parts.add(name, made.meta, made.pixels)
            metas.append(light(read_meta(part), part))
        if progress is not None:
            progress(place + 1, len(scans), f"preparing {layout.name}")
    return metas


def in_turn(items: Sequence[S], work: Callable[[S], T], workers: int) -> Iterator[T]:
    """Run ``work`` on every item in threads and yield the results in their order.

    Decompression, compression, hashing and NumPy release the GIL, so threads suffice and nothing is copied between
    processes. Results that are finished early wait, at most twice as many as there are workers.
    """
    pool = ThreadPoolExecutor(max(1, workers))
    waiting: deque[Future[T]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * max(1, workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work(out: Path) -> Path:
    return out.parent / f".{out.name}.work"


def _refuse(source: Path, layout: Layout, problems: Sequence[Problem], quarantine: bool) -> None:
    bad = sorted(errors(problems))
    if quarantine or not bad:
        return
    more = f" {len(bad) - 1} more scans or files have problems." if len(bad) > 1 else ""
    arguments = f"{layout.name} --source {source}"
    raise UserError(
        f"{source / bad[0].sentence}{more} See all with `anyadbench data verify {arguments}`, or leave such scans out "
        f"with `anyadbench data prepare {arguments}`."
    )


def _check_target(source: Path, out: Path) -> None:
    if os.path.realpath(source) == os.path.realpath(out):
        raise UserError(f"--source and the store are the same folder, {source}; name another folder for the store.")
    if Path(os.path.realpath(source)).is_relative_to(os.path.realpath(out)):
        raise UserError(f"The store {out} would replace the source {source}; name a folder outside it.")
    if is_store(source):
        raise UserError(f"{source} is already a slice store; give the folder with the data set's own files.")
    if out.exists() and not is_store(out) and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a slice store, and was left unchanged; name a new folder.")


def _reuse(source: Path, layout: Layout, out: Path, inputs: str, quarantine: bool) -> SliceStore:
    store = open_store(out)
    made_from = store_json(out / "inputs.json", dict).get("inputs")
    left_out = read_problems(out / "quarantine.json")
    if made_from != inputs:
        raise UserError(f"{out} is a store of other files than those in {source}; name a new folder, or delete it.")
    if left_out and not quarantine:
        _refuse(source, layout, left_out, quarantine)
    return store


def find_or_prepare(
    source: str | Path, dataset: str | Layout, progress: Progress | None = None, workers: int = 2
) -> SliceStore:
    """Open ``source`` if it is a store; otherwise prepare it into the cache, or open the store prepared there before.

    A store that ``anyadbench data prepare`` built from the same files without bad scans is used as it is.

    Raises:
        UserError: As ``prepare`` and ``open_store``, or if the store holds another data set.
    """
    layout = get_layout(dataset) if isinstance(dataset, str) else dataset
    source = check_source(Path(source))
    if is_store(source):
        store = open_store(source)
        if store.dataset != layout.name:
            raise UserError(
                f"{source} is a store of {store.dataset}, but {layout.name} is wanted; give a folder of {layout.name}."
            )
        return store
    out = default_target(source, layout)
    if is_store(out):
        return open_store(out)
    return prepare(source, layout, out, workers=workers, progress=progress, option=CACHE)
