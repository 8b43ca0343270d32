"""The steps from a scanner's images to a method's inputs, each measured and named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.trees.background import not_stripped
from anyadbench.errors import UserError
from anyadbench.predict.geometry import Grid, grid_of, resample, same_grid
from anyadbench.predict.prepare.extract import find_brain, outline_brain
from anyadbench.predict.prepare.flip import fit_and_mirrored
from anyadbench.predict.prepare.prepared import OwnGrid, Prepared, Step, unchanged
from anyadbench.predict.prepare.quality import Fit, fit_of
from anyadbench.predict.prepare.register import default_threads, find_rigid
from anyadbench.predict.prepare.views import detail_of, view_of
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.inputs import Input
    from anyadbench.predict.prepare.plan import Plan
    from anyadbench.predict.prepare.views import Detail, View

Said = Callable[[str], None]

BEST = ("t1", "t1ce", "flair", "t2", "pd", "dwi", "adc")
"""All sequences, from the one whose brain is outlined best to the worst."""

WHOLE = 0.85
"""Share of the largest brain that a scan must show for the brain to be outlined on it."""


def prepare_inputs(
    inputs: list[Input], plan: Plan, *, device: str = "cpu", threads: int = 1, said: Said = lambda text: None
) -> Prepared:
    """Return a patient's scans as a method expects them.

    Args:
        inputs: The scans as read; the first one defines the world into which the others are moved.
        plan: Which steps to take.
        device: Where the networks of brain extraction run.
        threads: CPU threads of registration and bias-field correction; with several, scans are registered at once.
        said: Called with the name of each step before it starts.

    Raises:
        UserError: If a package is missing, two scans do not show one head, or an extraction leaves no brain.
    """
    if plan.idle and len(inputs) == 1:
        return unchanged(inputs, plan)
    began = time.monotonic()
    work = _Work(inputs, plan, device, threads, said)
    work.look()
    work.register()
    if plan.idle:
        return replace(unchanged(inputs, plan, tuple(work.steps)), seconds=time.monotonic() - began)
    work.strip()
    work.correct()
    return replace(work.result(), seconds=time.monotonic() - began)


@dataclass
class _Work:
    """One patient in the making."""

    inputs: list[Input]
    plan: Plan
    device: str
    threads: int
    said: Said
    steps: list[Step] = field(default_factory=list)
    raw: dict[str, str] = field(default_factory=dict)
    masks: dict[str, Bool[np.ndarray, "x y z"]] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    moves: dict[str, Float[np.ndarray, "4 4"]] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    kept: list[Detail | None] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @property
    def first(self) -> Input:
        return self.inputs[0]

    @property
    def strips(self) -> bool:
        return self.plan.auto or "strip" in self.plan.steps

    @contextmanager
    def step(self, name: str, sequence: str) -> Iterator[_Note]:
        """Time a step and record what its body notes."""
        with self.lock:
            self.said(f"{name} {SHORT[sequence]}")
        began, note = time.monotonic(), _Note()
        yield note
        seconds = round(time.monotonic() - began, 2)
        self.steps.append(Step(name, sequence, note.text, seconds, note.figures, note.warning))

    def look(self) -> None:
        """Find the brain of every scan coarsely, and view it at 2 mm."""
        for item in self.inputs:
            name, volume = item.sequence, item.volume
            self.moves[name], self.arrays[name] = np.eye(4), volume.array
            if reason := not_stripped(volume):
                self.raw[name] = reason
            if name in self.raw and self.strips:
                with self.step("find brain", name) as note:
                    self.masks[name] = find_brain(volume, self.device)
                    note.figures = {"volume_ml": _volume_ml(self.masks[name], volume)}
                    note.text = f"{SHORT[name]} shows a skull ({reason}), so its brain was searched for"
            else:
                self.masks[name] = _foreground(volume) if name in self.raw else volume.array != 0
            if len(self.inputs) > 1:
                self.views[name] = view_of(volume, self.masks[name])

    def register(self) -> None:
        """Measure how well each scan fits the first, and move those that should be.

        A registration hardly gains from a second thread, so several run at once.
        """
        others, begun = self.inputs[1:], len(self.steps)
        if not others:
            return
        at_once = min(max(self.threads, 1), len(others))
        share = max(1, self.threads // at_once)
        with nullcontext() if self.plan.idle else default_threads(share), ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda item: self._align(item, share), others))
        order = [item.sequence for item in others]
        self.steps[begun:] = sorted(self.steps[begun:], key=lambda step: order.index(step.sequence))

    def _align(self, item: Input, threads: int) -> None:
        with self.step("check", item.sequence) as note:
            fit = _fit(self.first, item, self.views)
            note.figures, note.text = fit.figures, f"{SHORT[item.sequence]} was compared as given"
            moving = self._moves(item, fit)
            if not moving:
                note.warning = fit.warning(item.sequence, self.first.sequence, False)
        if moving:
            self._lay(item, threads)
        if not self.plan.idle:
            self._mirror(item, threads)

    def _moves(self, item: Input, fit: Fit) -> bool:
        if "register" in self.plan.steps:
            return True
        return self.plan.auto and (fit.poor or not same_grid(grid_of(item.volume), grid_of(self.first.volume)))

    def _lay(self, item: Input, threads: int) -> None:
        name = item.sequence
        with self.step("register", name) as note:
            fixed, moving = self.views[self.first.sequence], self.views[name]
            details = self._detail(self.first), self._detail(item)
            self.moves[name] = find_rigid(fixed, moving, threads, details=details)
            fit = fit_of(fixed, moving.moved(self.moves[name]))
            if fit.apart:
                raise UserError(
                    f"{item.where} and {self.first.where} do not show one head (normalised mutual information "
                    f"{fit.nmi:.3f} and brain overlap {fit.overlap:.2f} after registration); give scans of one patient."
                )
            distance, angle = _size(self.moves[name], fixed)
            note.figures = fit.figures | {"moved_mm": distance, "turned_degrees": angle}
            note.text = (
                f"{SHORT[name]} was moved by {distance:.1f} mm and turned by {angle:.1f}° to fit "
                f"{SHORT[self.first.sequence]}"
            )
            note.warning = fit.warning(name, self.first.sequence, True)

    def _detail(self, item: Input) -> Detail | None:
        """Return a scan at small voxels; that of the first scan is kept for the others."""
        if item is not self.first:
            return detail_of(item.volume, self.masks[item.sequence])
        with self.lock:
            if not self.kept:
                self.kept.append(detail_of(item.volume, self.masks[item.sequence]))
        return self.kept[0]

    def _mirror(self, item: Input, threads: int) -> None:
        """Compare the scan with its own mirror image: a flipped one fits better that way."""
        name = item.sequence
        with self.step("check left and right", name) as note:
            fixed, moved = self.views[self.first.sequence], self.views[name].moved(self.moves[name])
            fit = fit_and_mirrored(fixed, moved, threads)
            note.figures = {"as_given": round(fit.nmi, 4), "mirrored": round(fit.mirrored, 4)}
            note.text = f"{SHORT[name]} was compared with its mirror image"
            if fit.mirrored > fit.nmi:
                note.warning = fit.warning(name, self.first.sequence, True)

    def strip(self) -> None:
        """Outline the brain on the best scan and cut every scan that shows a skull."""
        if not self.strips:
            return
        if not self.raw:
            self.steps.append(Step("strip", self.first.sequence, "Every scan was stripped already"))
            return
        source = self._source()
        with self.step("strip", source.sequence) as note:
            brain = self._outline(source)
            note.figures = {"volume_ml": _volume_ml(brain, source.volume)}
            note.text = f"The brain was outlined on {SHORT[source.sequence]} and cut from " + ", ".join(
                SHORT[name] for name in self.raw
            )
        grid = self._grid(source)
        for item in self.inputs:
            own = self._grid(item)
            mask = brain if item is source else resample(brain, grid, own, keep_background=False) >= 0.5
            self.masks[item.sequence] = mask
            if item.sequence in self.raw:
                self.arrays[item.sequence] = np.where(mask, self.arrays[item.sequence], 0)

    def _source(self) -> Input:
        sizes = {item.sequence: _volume_ml(self.masks[item.sequence], item.volume) for item in self.inputs}
        whole = [name for name, size in sizes.items() if size >= WHOLE * max(sizes.values())]
        stripped = [name for name in whole if name not in self.raw]
        chosen = min(stripped or whole, key=BEST.index)
        return next(item for item in self.inputs if item.sequence == chosen)

    def _outline(self, source: Input) -> Bool[np.ndarray, "x y z"]:
        from scipy.ndimage import binary_fill_holes

        coarse = self.masks[source.sequence]
        if source.sequence in self.raw:
            return outline_brain(source.volume, coarse, self.device)
        return np.asarray(binary_fill_holes(coarse))

    def _grid(self, item: Input) -> Grid:
        return Grid(item.volume.shape, self.moves[item.sequence] @ item.volume.affine)

    def correct(self) -> None:
        """Divide every scan by its bias field."""
        if "bias" not in self.plan.steps:
            return
        from anyadbench.predict.prepare.bias import bias_field

        for item in self.inputs:
            name = item.sequence
            with self.step("bias", name) as note:
                volume = replace(item.volume, array=self.arrays[name])
                bias = bias_field(volume, self.masks[name] & (self.arrays[name] > 0), self.threads)
                self.arrays[name] = (self.arrays[name] / bias).astype(np.float32)
                inside = bias[self.masks[name]]
                low, high = np.percentile(inside, (5, 95))
                note.figures = {"field_p5": round(float(low), 3), "field_p95": round(float(high), 3)}
                note.text = f"{SHORT[name]} was divided by its bias field"

    def result(self) -> Prepared:
        """Return the scans with what was done."""
        made, own = [], {}
        for item in self.inputs:
            grid = self._grid(item)
            own[item.sequence] = OwnGrid(item.volume, grid, item.header)
            made.append(
                replace(item, volume=replace(item.volume, array=self.arrays[item.sequence], affine=grid.affine))
            )
        return Prepared(made, self.moves, own, tuple(self.steps), self.plan)


@dataclass
class _Note:
    text: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    warning: str = ""


def _fit(first: Input, item: Input, views: dict[str, View]) -> Fit:
    one, other = first.volume.array, item.volume.array
    if one.shape == other.shape and np.array_equal(one, other):
        return Fit(2.0, 1.0)
    return fit_of(views[first.sequence], views[item.sequence])


def _foreground(volume: Volume) -> Bool[np.ndarray, "x y z"]:
    """Return the head: above Otsu's threshold (IEEE Trans. SMC 9, 1979)."""
    import cv2

    low, high = np.percentile(volume.array, (0.5, 99.5))
    scaled = np.clip((volume.array - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    limit, _ = cv2.threshold(scaled.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    return np.asarray(scaled > limit)


def _volume_ml(mask: Bool[np.ndarray, "x y z"], volume: Volume) -> float:
    return round(float(mask.sum()) * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000, 1)


def _size(move: Float[np.ndarray, "4 4"], view: View) -> tuple[float, float]:
    """Return by how many mm the middle of the field moves, and the angle of the turn in degrees."""
    middle = view.grid.affine @ np.append((np.array(view.grid.shape) - 1) / 2, 1)
    back = np.linalg.inv(move) @ middle  # the point of the scan that comes to lie in the middle
    angle = np.degrees(np.arccos(np.clip((np.trace(move[:3, :3]) - 1) / 2, -1, 1)))
    return round(float(np.linalg.norm((middle - back)[:3])), 2), round(float(angle), 2)
