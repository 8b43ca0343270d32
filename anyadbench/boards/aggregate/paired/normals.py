"""What the source of normals changes: one method trained on healthy people and on patients, on the same test slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyadbench.boards.aggregate.compare import Comparison, compared_lines, matching, same_slices
from anyadbench.boards.aggregate.load import load_boards
from anyadbench.boards.aggregate.model import Board, Line, Variant
from anyadbench.boards.aggregate.uncertainty import Replicated
from anyadbench.data.slices.rules import HEALTHY
from anyadbench.errors import UserError, suggest
from anyadbench.files import read_json
from anyadbench.sequences import format_subset


@dataclass(frozen=True)
class Gap:
    """One method on one pair of protocols.

    Attributes:
        method: Its label.
        healthy: Protocol that trains on healthy subjects.
        lesion_free: Protocol that trains on lesion-free slices of patients.
        rows: The first minus the second, per test set, subset and metric, and for the mean of the subsets.
        metrics: Metrics that were compared.
        remarks: What else differs between the two.
    """

    method: str
    healthy: str
    lesion_free: str
    rows: tuple[Comparison, ...]
    metrics: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def compare_normals(runs: Path, name: str, protocol: str | None = None, metrics: Sequence[str] = ()) -> list[Gap]:
    """Compare a method trained on healthy subjects with the same method trained on lesion-free slices.

    Two protocols are compared wherever they have a test set of the same name, and a subset scored on the same slices.

    Args:
        runs: Folder written by 'anyadbench run'.
        name: The method's name, its label on the board, or the beginning of its key.
        protocol: The only protocol with healthy normals that is wanted.
        metrics: Metrics to compare; by default all.

    Raises:
        UserError: If the method lacks a result of either kind, no two have a common row, or a metric is unknown.
    """
    boards = [board for board in load_boards(runs) if not board.protocol.oracle]
    known = sorted({variant.method.name for board in boards for variant in board.variants})
    having = [board for board in boards if matching(board, name)]
    if not having:
        raise UserError(f"There is no result of {name!r}.{suggest(name, known)}")
    healthy = [board for board in having if board.protocol.normals == HEALTHY and protocol in (None, board.slug)]
    others = [board for board in having if board.protocol.normals != HEALTHY]
    if not healthy or not others:
        which = f"protocol {protocol!r} with healthy normals" if protocol else "protocol with healthy normals"
        lacking = which if not healthy else "protocol with lesion-free normals"
        raise UserError(
            f"{runs} has no result of {name!r} on a {lacking}; run it on two protocols with the same test slices, such "
            "as phantom-healthy and phantom-7subsets."
        )
    _check_metrics(boards, metrics)
    found = [gap for one in healthy for other in others for gap in _gaps(one, other, name, metrics)]
    if not found:
        listed = ", ".join(board.slug for board in (*healthy, *others))
        raise UserError(
            f"The results of {name!r} ({listed}) have no row with the same test slices; run it on two protocols that "
            "have, such as phantom-healthy and phantom-7subsets, with the same parameters."
        )
    return found


def _check_metrics(boards: Sequence[Board], metrics: Sequence[str]) -> None:
    known = list(dict.fromkeys(metric for board in boards for metric in board.metrics))
    unknown = sorted(set(metrics) - set(known))
    if unknown:
        raise UserError(f"Unknown metric {unknown[0]!r}.{suggest(unknown[0], known)}")


def _gaps(healthy: Board, other: Board, name: str, metrics: Sequence[str]) -> Iterator[Gap]:
    """Yield one gap for each way in which the method was run on both."""
    for one in matching(healthy, name):
        twin = next((variant for variant in matching(other, name) if _alike(one, variant)), None)
        if twin is None:
            continue
        wanted = tuple(metrics or (metric for metric in healthy.metrics if metric in other.metrics))
        replicated = Replicated(), Replicated()
        rows: list[Comparison] = []
        for test in (test for test in healthy.tests if test in other.tests):
            pairs = _pairs(healthy, other, test, one, twin)
            counted = [subset for subset in pairs if subset in healthy.protocol.subsets]
            for metric in wanted:
                rows += compared_lines(test, metric, pairs, counted, replicated)
        if rows:
            remarks = (*_remarks(healthy, other), *_scale_remark(one, twin))
            yield Gap(one.label, healthy.slug, other.slug, tuple(rows), wanted, remarks)


def _alike(one: Variant, other: Variant) -> bool:
    """Whether two variants are one method run in one way."""
    ours, theirs = one.method, other.method
    same = ("name", "code_hash", "budget", "training_mask", "missing", "params")
    return one.kind == other.kind and one.weights == other.weights and one.dtype == other.dtype and all(
        getattr(ours, field) == getattr(theirs, field) for field in same
    )  # fmt: skip


def _pairs(healthy: Board, other: Board, test: str, one: Variant, twin: Variant) -> dict[str, tuple[Line, Line]]:
    pairs = {}
    for subset in healthy.subsets:
        ours, theirs = healthy.line(one.key, test, subset), other.line(twin.key, test, subset)
        if ours is None or theirs is None or not (ours.covered and theirs.covered):
            continue
        if dict(ours.feed) == dict(theirs.feed) and same_slices(ours, theirs):
            pairs[subset] = (ours, theirs)
    return pairs


def _remarks(healthy: Board, other: Board) -> Iterator[str]:
    ours, theirs = (format_subset(board.protocol.sequences) for board in (healthy, other))
    if ours != theirs:
        yield f"The training differs in its sequences as well: {ours} in {healthy.slug}, {theirs} in {other.slug}."


def _scale_remark(one: Variant, twin: Variant) -> Iterator[str]:
    ours, theirs = (_scale(variant) for variant in (one, twin))
    if ours and theirs and ours != theirs:
        yield f"The intensity scale differs as well: {ours} with healthy normals, {theirs} with patients."


def _scale(variant: Variant) -> str:
    """Return the intensity rules that a variant's manifest records; empty if it records none."""
    manifest = variant.cells[0].folder / "manifest.json"
    rules = read_json(manifest).get("protocol", {}).get("intensity", {}) if manifest.is_file() else {}
    return ", ".join(str(value) for value in rules.values())
