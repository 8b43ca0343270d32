"""The predictor: a finished cell, ready for patients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.interpolation import box_of
from anyadbench.data.trees.background import below_background, not_stripped
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scoring import Evaluator
from anyadbench.errors import UserError
from anyadbench.methods.contract import Method
from anyadbench.plugins import code_hash, find_method
from anyadbench.predict.cell import TrainedCell, read_cell
from anyadbench.predict.findings.clusters import find_clusters
from anyadbench.predict.findings.compare import compared
from anyadbench.predict.findings.counting import counting_notes, has_mask, unscored_notes
from anyadbench.predict.findings.inside import brain_of, keep_inside
from anyadbench.predict.findings.scored import score_slices, slice_table
from anyadbench.predict.findings.settings import read_settings
from anyadbench.predict.geometry import (
    Grid,
    Placement,
    covered,
    grid_of,
    overlap,
    place_slices,
    resample,
    same_grid,
    tilt,
    to_volume,
)
from anyadbench.predict.inputs import Input, Source, read_inputs
from anyadbench.predict.prediction import Prediction
from anyadbench.predict.prepare.pipeline import prepare_inputs
from anyadbench.predict.prepare.plan import Plan, parse_plan
from anyadbench.predict.prepare.prepared import Prepared
from anyadbench.predict.slices import PatientSlices
from anyadbench.predict.trained_method import build_method, prediction_policy
from anyadbench.sequences import SHORT, Subset

if TYPE_CHECKING:
    from jaxtyping import Float32

    from anyadbench.data.interpolation import Box
    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.findings.calibration import Calibration

SliceProgress = Callable[[int, int], None]

MIN_OVERLAP = 0.5
"""Share of the first input's brain that every other sequence must cover."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained method with everything it needs for a patient.

    Attributes:
        cell: Its cell.
        method: The method, in eval mode.
        policy: Device and precision.
        notes: What applies to every prediction, one sentence each.
        own: Whether the method has the cell's own trained state, so that its thresholds apply.
    """

    cell: TrainedCell
    method: Method
    policy: Policy
    notes: tuple[str, ...] = ()
    own: bool = True

    @property
    def identity(self) -> list[Any]:
        """Everything about the model that a prediction depends on."""
        descriptor, entry = find_method(self.cell.job.method)
        code = code_hash(entry, descriptor.factory)
        return [self.cell.result.cell_id, code, self.method.context.weights.sha256, self.policy.to_dict()]

    def predict(
        self,
        scans: Mapping[str, Source],
        *,
        spacing: tuple[float, float, float] | None = None,
        affine: Any = None,
        prepare: str | Plan | Prepared = "none",
        threshold: float | None = None,
        smallest_ml: float | None = None,
        calibration: str | PathLike[str] | Calibration | None = None,
        progress: SliceProgress = lambda done, total: None,
    ) -> Prediction:
        """Return anomaly map and scores of one patient.

        Args:
            scans: By sequence (``flair``, ``t1``, ``t1ce``, ``t2``; at least one of the cell's protocol): the path of a
                NIfTI file, the path of a folder with one DICOM series (extra ``dicom``), a nibabel image, or an array
                of shape ``(x, y, z)`` in the scanner's units whose axes run to the patient's left, to posterior and to
                superior, or any way that ``affine`` says. Without ``prepare``, scans must be registered to each other,
                skull-stripped, and 0 outside the brain; grids, spacings and orientations may differ. The result has the
                grid of the first one.
            spacing: Voxel size in mm along the axes of arrays.
            affine: For arrays, instead of ``spacing``: 4 × 4, from indices to world coordinates in mm (x to the right,
                y to anterior, z to superior), as nibabel's ``image.affine``; one for all, or a mapping by sequence.
            prepare: ``none``, ``auto``, ``all``, or steps with commas (see
                ``anyadbench.predict.prepare.plan.parse_plan``), or what ``prepare_inputs`` returned for these scans.
            threshold: Pixel threshold in units of the map, instead of the cell's own.
            smallest_ml: Clusters of the mask with a smaller volume are removed; 3 mm³ by default.
            calibration: Folder that ``anyadbench calibrate`` wrote for this cell: thresholds, percentiles and alarms
                from a site's own normals, instead of the cell's.
            progress: Called with the number of scored slices and the total.

        Raises:
            UserError: If a scan cannot be used (the sentence names it), the threshold or the smallest cluster is not a
                finite number, or the calibration is damaged or another cell's.
        """
        began = time.monotonic()
        settings = read_settings(self.cell, threshold, smallest_ml, calibration, self.own)
        prepared = prepare if isinstance(prepare, Prepared) else self.prepare(scans, prepare, spacing, affine)
        inputs = prepared.inputs
        shown = self._shown(inputs)
        reference = inputs[0].volume
        placement = place_slices(reference, self.cell.grid, self.cell.spacing)
        notes = [*self.notes, *prepared.warnings, *_notes(inputs, placement), *self._unused(inputs)]
        used = [item for item in _in_order(inputs) if item.sequence in shown]
        volumes = {item.sequence: to_volume(item.volume, placement.grid) for item in used}
        _check_same_place(inputs, volumes)
        slices = PatientSlices.cut(volumes, self.cell.protocol, self.cell.grid, self.cell.standard)
        subsets = _covering(used, volumes, slices, placement.grid)
        notes += _partly(used, subsets) + self._never_trained(shown)
        evaluator = Evaluator(
            self.method, ProtocolData(slices.protocol), self.policy, Reporter(), MapSample("none", shown)
        )
        scored = score_slices(evaluator, slices, subsets, progress)
        own, origin = settings.limit(self.cell, shown, self.own)
        limits = {subset: settings.limit(self.cell, subset, self.own)[0] for subset in {*subsets}}
        brain = brain_of([item.volume for item in used], reference)
        own_limits = [limits[subset] for subset in subsets]
        found, limit = self._back(scored.maps, slices, placement, reference, own_limits, box_of(brain))
        counts = ~np.isnan(limit) & brain
        above = found > np.where(counts, limit, np.inf)
        if own is None:
            notes.append(origin)
        notes += counting_notes(slices, subsets, None if own is None else limits)
        native = np.ascontiguousarray(reference.to_native(keep_inside(found, brain)))
        clusters = find_clusters(reference.to_native(above), native, reference.native_affine, settings.smallest_ml)
        prediction = Prediction(
            map=native,
            mask=clusters.labels > 0 if own is not None and has_mask(slices, subsets, limits) else None,
            affine=reference.native_affine,
            header=inputs[0].header,
            slices=slice_table(scored, slices, subsets, limits, placement, reference),
            grid_maps=scored.maps,
            grid_brain=scored.inside,
            shown=shown,
            first=inputs[0].sequence,
            threshold=own,
            threshold_from=origin,
            notes=tuple(notes),
            data=slices,
            origin=_origin(self.cell),
            inputs={item.sequence: _facts(item, placement.grid) for item in inputs},
            brain=np.ascontiguousarray(reference.to_native(brain)),
            clusters=clusters.listed,
            cluster_labels=clusters.labels,
            preparation=prepared,
            seconds=time.monotonic() - began + _seconds_before(prepare),
            volumes={item.sequence: item.volume for item in inputs},
            n_brain=slices.n_brain,
        )
        if prediction.patient_score is None:
            return replace(prediction, notes=(*prediction.notes, *unscored_notes(prediction)))
        voxel_ml = abs(float(np.linalg.det(reference.affine[:3, :3]))) / 1000  # a leaning stack has no right angles
        volumes_ml = (float(part.sum()) * voxel_ml for part in (above, counts))
        result = compared(prediction, settings.basis(self.cell, self.own), *volumes_ml)
        return replace(result, alarm=settings.alarm(result))

    def prepare(
        self,
        scans: Mapping[str, Source],
        plan: str | Plan = "auto",
        spacing: tuple[float, float, float] | None = None,
        affine: Any = None,
        said: Callable[[str], None] = lambda text: None,
    ) -> Prepared:
        """Read scans and prepare them as ``predict`` does; arguments and errors as there."""
        steps = parse_plan(plan)
        inputs = read_inputs(scans, spacing, affine)
        return prepare_inputs(inputs, steps, device=self.policy.device, threads=self.policy.threads, said=said)

    def _shown(self, inputs: list[Input]) -> tuple[str, ...]:
        given = {item.sequence for item in inputs}
        shown = tuple(name for name in self.cell.protocol.sequences if name in given)
        if not shown:
            known = ", ".join(self.cell.protocol.sequences)
            raise UserError(
                f"The cell {self.cell.folder.name} uses {known} and none of {', '.join(given)}; give one that it uses."
            )
        return shown

    def _never_trained(self, shown: Subset) -> list[str]:
        known = self.cell.result.trained_on
        never = [SHORT[name] for name in shown if known is not None and name in known.never]
        return [f"The method was never trained on {name}; its scores mean nothing for this scan." for name in never]

    def _unused(self, inputs: list[Input]) -> list[str]:
        known = self.cell.protocol.sequences
        return [
            f"{SHORT[item.sequence]} was given but not used: the cell's protocol has only "
            f"{', '.join(SHORT[name] for name in known)}."
            for item in inputs
            if item.sequence not in known
        ]

    def _back(
        self,
        maps: Float32[np.ndarray, "n h w"],
        slices: PatientSlices,
        placement: Placement,
        reference: Any,
        limits: list[float | None],
        within: Box | None,
    ) -> tuple[Float32[np.ndarray, "x y z"], Float32[np.ndarray, "x y z"]]:
        """Return maps and thresholds on the reference's grid in LPS order, where they are wanted.

        A threshold is NaN where no slice counts.
        """
        out = np.zeros(placement.grid.shape, np.float32)
        limit = np.zeros(placement.grid.shape, np.float32)
        counts = np.zeros(placement.grid.shape, np.float32)
        for item, picture, own in zip(slices.part.slices, slices.back(maps), limits, strict=True):
            place = np.s_[:, :, item["slice"]]
            out[place] = np.nan_to_num(picture.T)
            limit[place] = own or 0
            counts[place] = ~np.isnan(picture.T) if slices.counts(item) and own is not None else 0
        target = grid_of(reference)
        if not same_grid(placement.grid, target):
            out, limit, counts = (
                resample(values, placement.grid, target, keep_background=False, within=within)
                for values in (out, limit, counts)
            )
        return out, np.where(counts >= 0.5, limit, np.float32(np.nan))


def load(cell: str | PathLike[str], *, device: str = "auto", weights: str | None = None) -> Predictor:
    """Return a predictor from a finished cell; see ``anyadbench.load``."""
    return load_with(read_cell(Path(cell)), device=device, weights=weights)


def load_with(
    cell: TrainedCell, *, device: str = "auto", weights: str | None = None, threads: int | None = None
) -> Predictor:
    """Return a predictor from a cell that was already read."""
    policy, notes = prediction_policy(cell, device, threads)
    built = build_method(cell, policy, weights)
    warnings = _warnings(cell) if built.own else []
    return Predictor(cell, built.method, policy, (*notes, *built.notes, *warnings), built.own)


def _warnings(cell: TrainedCell) -> list[str]:
    found = []
    if cell.result.weights.marked:
        found.append("The method's pretrained network was replaced by random numbers; its scores are meaningless.")
    if cell.result.method.budget == "tiny":
        found.append("The cell was trained with the budget tiny, which tests the program; its scores are meaningless.")
    return found


def _seconds_before(prepare: Any) -> float:
    return prepare.seconds if isinstance(prepare, Prepared) else 0.0


def _in_order(inputs: list[Input]) -> list[Input]:
    return sorted(inputs, key=lambda item: list(SHORT).index(item.sequence))


def _check_same_place(inputs: list[Input], volumes: Mapping[str, Volume]) -> None:
    """Refuse scans that do not show the same place as the first."""
    first, *others = inputs
    seen = volumes[first.sequence].array != 0 if first.sequence in volumes else None
    for item in others:
        if overlap(first.volume, item.volume) < MIN_OVERLAP:
            raise UserError(
                f"{item.where} covers less than half of what {first.where} shows; they show different places or "
                "patients, or an affine is wrong: give registered scans of one patient."
            )
        if seen is None or item.sequence not in volumes:
            continue
        there = volumes[item.sequence].array != 0
        # Of the smaller: one of the two may show the skull as well.
        if (seen & there).sum() < MIN_OVERLAP * max(1, min(seen.sum(), there.sum())):
            raise UserError(
                f"{item.where} and {first.where} show different places; they are of different "
                "patients, or an affine is wrong: give registered scans of one patient."
            )


def _covering(used: list[Input], volumes: Mapping[str, Volume], slices: PatientSlices, grid: Grid) -> list[Subset]:
    """Return, for every slice, the sequences whose fields of view contain it."""
    seen = np.logical_or.reduce([volume.array != 0 for volume in volumes.values()])
    there = {item.sequence: covered(item.volume, seen, grid) for item in used}
    found = []
    for item in slices.part.slices:
        subset = tuple(name for name in slices.protocol.sequences if name in there and there[name][item["slice"]])
        found.append(subset or tuple(name for name in slices.protocol.sequences if name in there))
    return found


def _partly(used: list[Input], subsets: list[Subset]) -> list[str]:
    """Return a note for every sequence that does not cover all slices."""
    found = []
    for item in used:
        without = sum(item.sequence not in subset for subset in subsets)
        if without:
            found.append(
                f"{SHORT[item.sequence]} does not reach {without} of {len(subsets)} slices, which were scored without "
                "it; scores of slices with different sequences (JSON: subset) cannot be compared."
            )
    return found


def _notes(inputs: list[Input], placement: Placement) -> list[str]:
    found = []
    for item in inputs:
        reason = not_stripped(item.volume)
        if reason:
            found.append(
                f"{SHORT[item.sequence]} is probably not skull-stripped ({reason}); the method was trained on "
                "stripped brains, so strip it first (e.g. with HD-BET or SynthStrip), or distrust the result."
            )
        if below_background(item.volume):
            found.append(
                f"{SHORT[item.sequence]} has values below 0 inside the brain, like z-scores; the method was trained "
                "on scans without negative values and sees 0 there, so give the scan before standardisation."
            )
        if item.background:
            found.append(
                f"{SHORT[item.sequence]} has the value {item.background:g} outside the brain, where training has 0; it "
                "was subtracted from the whole scan."
            )
        found += [f"{SHORT[item.sequence]} {note}." for note in item.notes]
        if item is not inputs[0] and not same_grid(grid_of(item.volume), grid_of(inputs[0].volume)):
            found.append(f"{SHORT[item.sequence]} has another grid and was resampled to {SHORT[inputs[0].sequence]}'s.")
    if placement.tilted:
        degrees = tilt(inputs[0].volume)
        found.append(f"The first input is tilted by {degrees:.0f}°, so slices were cut across the body's axis instead.")
    elif placement.cut:
        found.append("Slices were cut to the field of the method's training around the brain.")
    elif not placement.native:
        found.append("Slices were resampled to the pixel size and field of the method's training.")
    return found


def _facts(item: Input, grid: Grid) -> dict[str, Any]:
    return {
        "file": item.where,
        "shape_lps": list(item.volume.shape),
        "spacing_lps_mm": [round(step, 6) for step in item.volume.spacing],
        "resampled": not same_grid(grid_of(item.volume), grid),
    }


def _origin(cell: TrainedCell) -> dict[str, Any]:
    result = cell.result
    return {
        "folder": cell.folder.name, "cell_id": result.cell_id, "fit_id": result.fit_id, "method": result.method.name,
        "protocol": result.protocol.name, "seed": result.seed, "budget": result.method.budget,
        "weights": result.weights.name,
    }  # fmt: skip
