"""Scoring whole scans, one at a time and subset by subset, into records of a few kilobytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.engine.counting.in_order import InOrder
from anyadbench.engine.scans.common_thresholds import common_thresholds
from anyadbench.engine.scans.healthy import healthy_parts, subject_facts, subject_score, test_subjects
from anyadbench.engine.scans.whole_scan import WholeScan, whole_scans
from anyadbench.engine.scoring import Evaluation, ScanPending
from anyadbench.metrics.core.thresholds import Quantile
from anyadbench.metrics.lesions import Rule, ScanRecord, score_scan
from anyadbench.metrics.lesions.compact import snap_alarms
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.scans.whole_scans import Place, RowScans, SubjectScore, WholeScans
from anyadbench.protocols.model import TestSet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from anyadbench.engine.slice_reader import SliceReader


@dataclass(frozen=True, eq=False)
class ScanMaps:
    """The maps of one scan, shown one subset.

    Attributes:
        whole: The scan.
        labels: Rows that the maps count in.
        pending: Waits for the maps of its slices.
        brain: True where any of the scan's sequences that the protocol has shows tissue, except pathology that the
            release excludes from its evaluation; the same for all subsets.
        lesions: Lesion mask.
    """

    whole: WholeScan
    labels: list[str]
    pending: ScanPending
    brain: Bool[np.ndarray, "d h w"]
    lesions: Bool[np.ndarray, "d h w"]

    @cached_property
    def scores(self) -> Float32[np.ndarray, "d h w"]:
        """Maps as a volume, zero in gaps."""
        return self.whole.volume(self.pending())


@dataclass
class ScanScoring:
    """Scores the scans that a protocol asks for.

    Attributes:
        evaluation: What makes the scores.
        thresholds: Threshold by subset label.
        validate: Whether healthy validation subjects are scored, for the thresholds of alarms.
        seconds: Wall seconds spent on maps and metrics.
        scored: Scans scored, each subset counted.
    """

    evaluation: Evaluation
    thresholds: Mapping[str, Quantile]
    validate: bool = True
    seconds: float = 0.0
    scored: int = 0
    _scores: dict[tuple[str, str, str, str], float] = field(default_factory=dict)

    def run(self, states: Collection[tuple[TestSet, dict[str, RowState]]]) -> WholeScans:
        """Score the scans of all test sets, and the healthy validation subjects.

        Args:
            states: Scored slices of each test set, which the common thresholds are taken from.
        """
        started = time.monotonic()
        rows: dict[Place, RowScans] = {}
        for test, by_label in states:
            rows |= self._test(test, by_label)
        if self.validate:
            self._validation()
        self.seconds += time.monotonic() - started
        return WholeScans(rows, self._subject_scores())

    def _test(self, test: TestSet, states: Mapping[str, RowState]) -> dict[Place, RowScans]:
        data = self.evaluation.data
        grids = {label: common_thresholds(state) for label, state in states.items()}
        rule = data.protocol.scoring.rule()
        found: dict[str, list[tuple[WholeScan, ScanRecord]]] = {label: [] for label in states}
        subjects = test_subjects(data.selections[test.dataset])

        def count(maps: ScanMaps) -> None:
            for label in maps.labels:
                threshold = self.thresholds.get(label)
                record = score_scan(
                    maps.scores, maps.lesions, maps.brain, maps.whole.spacing, grid=grids[label], rule=rule,
                    threshold=None if threshold is None else threshold.value, name=maps.whole.scan,
                )  # fmt: skip
                found[label].append((maps.whole, record))
                self._note(test.name, label, "test", maps)

        self._count(self._maps(data.reader(test.dataset, test.feed), subjects, test), count)
        return {
            (test.name, label): self._row(test.name, label, rule, grids[label], records)
            for label, records in found.items()
            if records
        }

    def _row(
        self, test: str, label: str, rule: Rule, grid: tuple[float, ...], records: list[tuple[WholeScan, ScanRecord]]
    ) -> RowScans:
        threshold = self.thresholds.get(label)
        return RowScans(
            test, label, rule.sentence, None if threshold is None else threshold.value, grid,
            tuple(whole.subject for whole, _ in records), tuple(whole.scan for whole, _ in records),
            tuple(snap_alarms([record for _, record in records])),
        )  # fmt: skip

    def _validation(self) -> None:
        """Score the healthy validation subjects of the training set, for the thresholds of alarms."""
        data = self.evaluation.data
        subjects = healthy_parts(data.selections[data.protocol.train]).get("val", [])
        if subjects and any(healthy_parts(data.selections[test.dataset]).get("test") for test in data.protocol.tests):

            def count(maps: ScanMaps) -> None:
                for label in maps.labels:
                    self._note("", label, "val", maps)

            self._count(self._maps(data.reader(data.protocol.train), set(subjects)), count)

    def _count(self, scored: Iterator[ScanMaps], count: Callable[[ScanMaps], None]) -> None:
        """Count scans in turn, beside the calls of the next ones where the evaluation does."""
        with InOrder(self.evaluation.overlapped, self.evaluation.reporter.check) as counting:
            for maps in scored:
                counting.add(partial(count, maps))

    def _maps(self, reader: SliceReader, subjects: Collection[str], test: TestSet | None = None) -> Iterator[ScanMaps]:
        """Yield one scan and subset at a time: in memory are the slices of one scan and the maps of one subset.

        Where they are counted beside the next call, those of two more subsets may wait.
        """
        evaluation = self.evaluation
        scans = whole_scans(reader.store, reader, evaluation.protocol, subjects)
        for number, whole in enumerate(scans, 1):
            values, present = reader.read(whole.rows)
            brain = whole.volume(evaluation.brains(values))
            if (ignored := evaluation.ignored(reader, whole.rows)) is not None:
                brain &= ~whole.volume(ignored)
            lesions = whole.volume(evaluation.lesions(reader, whole.rows))
            numbers = reader.store.slices["slice"].to_numpy()[whole.rows]
            names = [f"{whole.scan} slice {index}" for index in numbers]
            for labels, pending in evaluation.scan_maps(values, present, names, test):
                self.scored += 1
                yield ScanMaps(whole, labels, pending, brain, lesions)
            what = "healthy validation subjects" if test is None else f"whole scans of {test.name}"
            evaluation.reporter.progress(number, len(scans), f"scoring {what}")

    def _note(self, test: str, label: str, part: str, maps: ScanMaps) -> None:
        """Keep the score of a subject: the highest of its scans."""
        score = subject_score(maps.scores, maps.brain, float(np.prod(maps.whole.spacing)) / 1000.0)
        key = (test, label, part, maps.whole.subject)
        self._scores[key] = max(score, self._scores.get(key, score))

    def _subject_scores(self) -> list[SubjectScore]:
        """Return the scores of all subjects, if a test set has healthy ones."""
        data = self.evaluation.data
        datasets = {test.name: test.dataset for test in data.protocol.tests} | {"": data.protocol.train}
        healthy = {
            name: {one for own in healthy_parts(data.selections[dataset]).values() for one in own}
            for name, dataset in datasets.items()
        }
        tested = {test for test, _, part, subject in self._scores if part == "test" and subject in healthy[test]}
        return [
            SubjectScore(
                test, label, part, subject, subject in healthy[test], score,
                *subject_facts(data.stores[datasets[test]], subject),
            )
            for (test, label, part, subject), score in self._scores.items()
            if test in tested or (part == "val" and tested)
        ]  # fmt: skip
