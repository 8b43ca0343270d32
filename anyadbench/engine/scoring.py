"""Scoring a trained method on a protocol's test sets, every subset from one read of each slice."""

from __future__ import annotations

import abc
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.engine.batches import evaluation_batch
from anyadbench.engine.boxes.collect import add_boxes
from anyadbench.engine.calls.joint import JointCalls
from anyadbench.engine.calls.network import Network
from anyadbench.engine.calls.pending import Pending, Scored
from anyadbench.engine.compiling import Compiled
from anyadbench.engine.counting.in_order import InOrder
from anyadbench.engine.counting.slices import slice_entries, slice_names
from anyadbench.engine.heights.normaliser import TRAINING_SLICES, HeightNormaliser
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData, spread
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.settings import EXACT_PIXELS, SCORING_BATCH, VALIDATION_SLICES
from anyadbench.engine.slice_reader import SliceReader, on_scoring_grid
from anyadbench.engine.stepping.frozen import hold_frozen
from anyadbench.methods.contract import Batch, Method, Scores
from anyadbench.metrics import PixelState
from anyadbench.metrics.core.inside import brain_pixels
from anyadbench.metrics.core.thresholds import Quantile, quantile_of_state
from anyadbench.metrics.rows.row_numbers import HEIGHT_SCORE, IGNORED_PX
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.rows.split_counts import slice_pixels
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.sequences import AS_AVAILABLE, Subset, format_subset

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int

SeenSlices = Callable[[str, "Int[np.ndarray, ' B']", np.ndarray, np.ndarray, np.ndarray], None]
"""Receives the label of a subset, and indices, values, maps and image scores of slices scored with it."""

Round = tuple[Subset, "Int[np.ndarray, ' M']", list[tuple[str, "Int[np.ndarray, ' K']"]]]
"""A subset to score, the slices that have it, and the rows that the scores count in with those of its slices."""


ScanPending = Callable[[], "Float32[np.ndarray, 'N h w']"]
"""Waits for the maps of a scan's slices, and returns them."""


class Scorer(typing.Protocol):
    """What scores slices: a trained ``Method``, or anything else with this one function."""

    def score(self, batch: Batch) -> Scores:
        """Return anomaly maps for slices, from the shown sequences alone."""


@dataclass
class Evaluation(abc.ABC):
    """Scores a protocol's slices, subset by subset; where the scores come from is up to the class.

    Attributes:
        data: The protocol's slices.
        reporter: Where progress goes.
        kept: Which maps to keep.
        heights: Normalisation of slice scores; ``None`` where the protocol does not ask for it.
        quantiles: Thresholds by subset label, once `thresholds` was called; boxes are drawn above them.
        maps: How many maps of normals and test slices have been scored.
        overlapped: Whether scores are counted in a thread beside the next call. On a GPU they are; on a CPU, network
            and counters would compete for the same cores. Results are equal to the bit.
    """

    data: ProtocolData
    reporter: Reporter
    kept: MapSample

    heights: HeightNormaliser | None = field(default=None, init=False)
    quantiles: dict[str, Quantile] = field(default_factory=dict, init=False)
    maps: int = field(default=0, init=False)
    overlapped: bool = field(default=False, init=False)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What made the scores, for sentences about them."""

    @abc.abstractmethod
    def score(self, values: Float[np.ndarray, "B S H W"], subset: Subset, names: list[str]) -> Scored:
        """Return maps on the scoring grid and image scores of the named slices, from ``subset`` alone."""

    def score_rounds(
        self, values: Float[np.ndarray, "B S H W"], rounds: Sequence[Round], names: list[str]
    ) -> Iterator[Pending]:
        """Yield maps and image scores of each round of ``_rounds``; ``names`` are those of all slices."""
        for subset, members, _ in rounds:
            yield self.launch(values[members], subset, [names[i] for i in members])

    def launch(self, values: Float[np.ndarray, "B S H W"], subset: Subset, names: list[str]) -> Pending:
        """Return what waits for the scores of ``score``, if they can be computed while the caller goes on."""
        scored = self.score(values, subset, names)
        return lambda: scored

    @property
    def protocol(self) -> Protocol:
        """The protocol."""
        return self.data.protocol

    def run_test(self, test: TestSet) -> dict[str, RowState]:
        """Score a test set and return the state of each row by label, in the protocol's order."""
        normals, abnormals = self.data.test_indices(test)
        reader = self.data.reader(test.dataset, test.feed)
        indices = np.sort(np.concatenate([normals, abnormals]))
        abnormal = np.isin(indices, abnormals)
        labels = self.protocol.rows(test)
        pixels = len(indices) * int(np.prod(self._grid(reader))) * len(labels)
        exact = pixels <= EXACT_PIXELS
        states = {label: RowState(label, exact, slices=len(indices)) for label in labels}
        if reader.store.boxes is None:  # a kept slice is shown with its mask
            self.kept.choose(test, reader.store, indices, abnormal, reader.present(indices))
        with InOrder(self.overlapped, self.reporter.check) as counting:
            for start in range(0, len(indices), SCORING_BATCH):
                self.reporter.check()
                end = min(start + SCORING_BATCH, len(indices))
                self._score_slices(test, reader, indices[start:end], abnormal[start:end], states, counting)
                self.reporter.progress(end, len(indices), f"scoring {test.name}")
        for state in states.values():
            state.finish()
            if reader.store.boxes is not None:
                state.emptied = 0  # its slices have no masks
        return states

    def image_scores(self, test: TestSet) -> tuple[Float64[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
        """Return each test slice's image score, with all its sequences shown, and whether the slice is abnormal."""
        normals, abnormals = self.data.test_indices(test)
        reader = self.data.reader(test.dataset, test.feed)
        indices = np.sort(np.concatenate([normals, abnormals]))
        scores = np.zeros(len(indices))
        for start in range(0, len(indices), SCORING_BATCH):
            self.reporter.check()
            part = indices[start : start + SCORING_BATCH]
            values, present = reader.read(part)
            own = [tuple(np.array(self.protocol.sequences)[has]) for has in present]
            for subset in dict.fromkeys(own):
                members = np.flatnonzero([has == subset for has in own])
                names = slice_names(reader, part[members])
                scores[start + members] = self.score(values[members], subset, names)[1]
        return scores, np.isin(indices, abnormals)

    def _score_slices(
        self,
        test: TestSet,
        reader: SliceReader,
        indices: Int[np.ndarray, " B"],
        abnormal: Bool[np.ndarray, " B"],
        states: dict[str, RowState],
        counting: InOrder,
    ) -> None:
        """Launch the calls of a batch of slices, and have their scores counted."""
        values, present = reader.read(indices)
        rounds = list(self._rounds(present, test))
        self.maps += sum(len(members) for _, members, _ in rounds)
        launched = self.score_rounds(values, rounds, slice_names(reader, indices))
        if counting.beside:  # what follows is computed while the device computes the scores
            launched = iter(list(launched))
        masks = self._masks(reader, indices, abnormal)
        ignored = self.ignored(reader, indices)
        pixels = slice_pixels(masks, self.brains(values), ignored)
        entries = slice_entries(reader, test.name, indices, abnormal, self.protocol.slices.cavity)
        if ignored is not None:
            for entry, left_out in zip(entries, ignored.sum(axis=(1, 2)).tolist(), strict=True):
                entry[IGNORED_PX] = left_out
        self.kept.add_slices(test, indices, values, present, masks)

        def count() -> None:
            for (subset, members, served), pending in zip(rounds, launched, strict=True):
                maps, images = pending()
                normalised = self._normalised(reader, indices, values, members, subset, images)
                for label, chosen in served:
                    records = [
                        {**entries[members[i]], "subset": label, "image_score": float(images[i]), **normalised[i]}
                        for i in chosen
                    ]
                    rows, own = members[chosen], maps if len(chosen) == len(maps) else maps[chosen]
                    states[label].add(own, [pixels[i] for i in rows], records)
                    add_boxes(states[label], reader, self.protocol, indices[rows], own, self.quantiles.get(label))
                    self.kept.add_maps(test, label, indices[rows], own, images[chosen])

        counting.add(count)

    def fit_heights(self) -> None:
        """Fit the normalisation of slice scores on training normals, if the protocol asks for one."""
        if not self.protocol.scoring.normalise_height:
            return
        self.heights = HeightNormaliser(self.protocol.sequences)
        reader = self.data.reader(self.protocol.train)
        for part, values, scored in self._scored_normals(reader, self.height_slices(), "scoring training normals"):
            for (subset, members, _), pending in scored:
                self.heights.learn(reader, part[members], values[members], subset, pending()[1])
        self.heights.fit()

    def _scored_normals(
        self, reader: SliceReader, indices: Int[np.ndarray, " N"], label: str
    ) -> Iterator[tuple[Int[np.ndarray, " B"], Float[np.ndarray, "B S H W"], Iterator[tuple[Round, Pending]]]]:
        """Yield slices of the training set batch by batch: indices, values, and each round with its scores."""
        for start in range(0, len(indices), SCORING_BATCH):
            self.reporter.check()
            part = indices[start : start + SCORING_BATCH]
            values, present = reader.read(part)
            rounds = list(self._rounds(present))
            self.maps += sum(len(members) for _, members, _ in rounds)
            yield part, values, zip(rounds, self.score_rounds(values, rounds, slice_names(reader, part)), strict=True)
            self.reporter.progress(min(start + SCORING_BATCH, len(indices)), len(indices), label)

    def height_slices(self) -> Int[np.ndarray, " T"]:
        """Return the training normals that the normalisation is fitted on."""
        return spread(self.data.train_indices(), TRAINING_SLICES)

    def _normalised(
        self,
        reader: SliceReader,
        indices: Int[np.ndarray, " B"],
        values: Float[np.ndarray, "B S H W"],
        members: Int[np.ndarray, " M"],
        subset: Subset,
        images: Float64[np.ndarray, " M"],
    ) -> list[dict[str, float | None]]:
        """Return the entries of the normalised slice scores in the slice table; empty ones without normalisation."""
        if self.heights is None:
            return [{} for _ in members]
        found = self.heights.normalised(reader, indices[members], values[members], subset, images)
        return [{HEIGHT_SCORE: score} for score in found]

    def _rounds(self, present: Bool[np.ndarray, "B S"], test: TestSet | None = None) -> Iterator[Round]:
        """Yield each subset to score, the slices that have it, and the rows that the scores count in."""
        sequences = self.protocol.sequences
        wants = test.subsets if test and test.subsets else self.protocol.subsets
        as_available = self.protocol.as_available and wants is self.protocol.subsets
        own = [tuple(name for name, has in zip(sequences, row, strict=True) if has) for row in present]
        extra = dict.fromkeys(own) if as_available else {}
        for subset in dict.fromkeys([*wants, *extra]):
            wanted = [sequences.index(name) for name in subset]
            listed = subset in wants
            serves = present[:, wanted].all(1)
            exactly = np.array([has == subset for has in own]) & bool(extra)
            members = np.flatnonzero(serves if listed else exactly)
            if not len(members):
                continue
            served = [(format_subset(subset), np.arange(len(members)))] if listed else []
            if extra and exactly.any():
                served.append((AS_AVAILABLE, np.flatnonzero(exactly[members])))
            yield subset, members, served

    def scan_maps(
        self,
        values: Float[np.ndarray, "N S H W"],
        present: Bool[np.ndarray, "N S"],
        names: list[str],
        test: TestSet | None = None,
    ) -> Iterator[tuple[list[str], ScanPending]]:
        """Yield what waits for the maps of all given slices of one scan, by subset, with the rows they count in."""
        for subset, members, served in self._rounds(present, test):
            parts = []
            for start in range(0, len(members), SCORING_BATCH):
                self.reporter.check()
                part = members[start : start + SCORING_BATCH]
                parts.append(self.launch(values[part], subset, [names[i] for i in part]))
            yield [label for label, chosen in served if len(chosen)], partial(_joined, parts)

    def lesions(self, reader: SliceReader, indices: Int[np.ndarray, " N"]) -> Bool[np.ndarray, "N h w"]:
        """Return the lesion masks of slices on the scoring grid, of lesions of any size."""
        return self._masks(reader, indices, np.ones(len(indices), dtype=bool))

    def ignored(self, reader: SliceReader, indices: Int[np.ndarray, " N"]) -> Bool[np.ndarray, "N h w"] | None:
        """Return the pixels of slices that count neither way, on the scoring grid; ``None`` if there are no such."""
        return reader.ignored(indices, self.protocol)

    def validation_slices(self) -> Int[np.ndarray, " V"]:
        """Return the slice indices of the validation normals from which the threshold is computed."""
        return spread(self.data.validation_indices(), VALIDATION_SLICES)

    def thresholds(self, seen: SeenSlices | None = None) -> dict[str, Quantile]:
        """Return the 99th percentile of the validation normals' pixel scores inside the brain, by subset label.

        A label whose slices have no brain pixel has none. ``seen`` receives the slices and scores of each label.
        """
        reader = self.data.reader(self.protocol.train)
        states: dict[str, PixelState] = {}
        indices = self.validation_slices()
        for part, values, scored in self._scored_normals(reader, indices, "scoring validation normals"):
            brains = self.brains(values)
            for (_, members, served), pending in scored:
                maps, images = pending()
                for label, chosen in served:
                    if seen is not None:
                        seen(label, part[members[chosen]], values[members[chosen]], maps[chosen], images[chosen])
                    inside = brains[members[chosen]]
                    pixels = brain_pixels(maps[chosen], np.zeros_like(inside), inside)
                    if inside.any():
                        states.setdefault(label, PixelState()).update(*pixels)
        self.quantiles = {label: quantile_of_state(state) for label, state in states.items()}
        return self.quantiles

    def _grid(self, reader: SliceReader) -> tuple[int, int]:
        height, width = self.protocol.scoring_grid
        return (height or reader.shape[0], width or reader.shape[1])

    def _masks(
        self, reader: SliceReader, indices: Int[np.ndarray, " B"], abnormal: Bool[np.ndarray, " B"]
    ) -> Bool[np.ndarray, "B h w"]:
        masks = reader.masks(indices, self.protocol.slices.cavity) & abnormal[:, None, None]
        return on_scoring_grid(masks, self.protocol)

    def brains(self, values: Float[np.ndarray, "B S H W"]) -> Bool[np.ndarray, "B h w"]:
        """Return the brain of slices on the scoring grid: where any sequence that the scan has is above 0.

        The subset shown does not matter, so all subsets and methods are counted on the same pixels.
        """
        return on_scoring_grid(np.asarray((values > 0).any(axis=1)), self.protocol)


class Evaluator(Evaluation):
    """Scores one method.

    Args:
        method: Trained, in eval mode, on its device.
        data: The protocol's slices.
        policy: Numeric policy.
        reporter: Where progress goes.
        kept: Which maps to keep.
    """

    def __init__(self, method: Scorer, data: ProtocolData, policy: Policy, reporter: Reporter, kept: MapSample) -> None:
        super().__init__(data, reporter, kept)
        self.method, self.policy = method, policy
        self.overlapped = policy.device == "cuda"
        if isinstance(method, Method):
            hold_frozen(method, policy)

    @property
    def name(self) -> str:
        """The method's class."""
        return type(self.method).__name__

    @cached_property
    def compiled(self) -> Compiled:
        """The method's scoring, compiled if the policy says so."""
        method = self.method if isinstance(self.method, Method) else None
        return Compiled(self.method.score, method, self.reporter, enabled=self.policy.compile)

    @cached_property
    def _network(self) -> Network:
        return Network(self.compiled, self.protocol, self.policy, self.name)

    def score(self, values: Float[np.ndarray, "B S H W"], subset: Subset, names: list[str]) -> Scored:
        """Return maps on the scoring grid and image scores, showing the method ``subset`` only.

        Raises:
            NotFinite: If a score is NaN or infinite; the slice is named.
            TypeError: If the method returns another shape or type than it should.
        """
        return self.launch(values, subset, names)()

    def launch(self, values: Float[np.ndarray, "B S H W"], subset: Subset, names: list[str]) -> Pending:
        """Launch the call that ``score`` waits for."""
        batch = evaluation_batch(values, subset, self.protocol.sequences, self.policy.torch_device())
        return self._network.launch(batch, names)

    def score_rounds(
        self, values: Float[np.ndarray, "B S H W"], rounds: Sequence[Round], names: list[str]
    ) -> Iterator[Pending]:
        """Launch the rounds, several in one call of the method if it allows that."""
        return self._joint.score(values, [(subset, members) for subset, members, _ in rounds], names)

    @cached_property
    def _joint(self) -> JointCalls:
        device, padded = self.policy.torch_device(), self.policy.compile
        # On a CPU shared calls save next to nothing, and the last bits of a score depend on the size of its batch.
        allowed = None if device.type == "cuda" and isinstance(self.method, Method) else False
        return JointCalls(
            self.launch, self._network.launch, self.protocol.sequences, device, padded, allowed,
            lambda said: self.reporter.send(note=said),
        )  # fmt: skip


def _joined(parts: list[Pending]) -> Float32[np.ndarray, "N h w"]:
    return np.concatenate([pending()[0] for pending in parts])
