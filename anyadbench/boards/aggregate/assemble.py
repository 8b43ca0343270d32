"""From the cells of a runs folder to boards, one per protocol."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from anyadbench.boards.aggregate.controls import control_lines
from anyadbench.boards.aggregate.lines import variant_lines
from anyadbench.boards.aggregate.model import KINDS, Board, Line, Summary, Variant, headline_metric
from anyadbench.boards.aggregate.ranks import summarise
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.boards.aggregate.uncertainty import Resamples, add_uncertainty
from anyadbench.boards.aggregate.variants import group_variants
from anyadbench.errors import UserError
from anyadbench.metrics import METRICS
from anyadbench.results.read import CellRecord
from anyadbench.sequences import AS_AVAILABLE, format_subset

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Version = tuple[str, str]

_NO_CONTROL = "No cell has a readable slice table, so brain area could not be scored."


def make_boards(
    records: Sequence[CellRecord], protocol: str | None = None, reported: Sequence[CellRecord] = ()
) -> list[Board]:
    """Aggregate records into boards, sorted by name.

    Cells of one protocol name whose protocol or metrics differ in version never share a board: the newest version keeps
    the plain name, the others add a part of their hash.

    Args:
        records: Result of `anyadbench.results.read.read_cells`.
        protocol: Name of the only protocol wanted.
        reported: Rows from publications; they join every board of their protocol, or form a board of their own.
    """
    records = [_checked(record) for record in records]
    damaged = [record for record in records if record.problem is not None]
    published: dict[str, list[CellRecord]] = defaultdict(list)
    for record in reported:
        if record.result is not None:
            published[record.result.protocol.name].append(record)
    names = sorted({record.result.protocol.name for record in records if record.result is not None} | set(published))
    boards = []
    for name in names:
        if protocol is not None and name != protocol:
            continue
        groups: dict[Version, list[CellRecord]] = defaultdict(list)
        for record in records:
            if record.result is not None and record.result.protocol.name == name:
                groups[record.result.protocol.hash, record.result.metric_version].append(record)
        if not groups:
            groups["", ""] = []
        failures = [r for r in records if r.result is None and r.problem is None and r.protocol in ("", name)]
        # A damaged cell whose protocol matches no board is listed on every board, so that it is not lost.
        unreadable = [r for r in damaged if r.protocol == name or r.protocol not in names]
        newest = max(groups, key=lambda version: (max((c.finished for c in groups[version]), default=""), version))
        for version in sorted(groups):
            slug = name if version == newest else f"{name}@{_short(version)}"
            board = _board(slug, groups[version], published[name], failures, unreadable)
            boards.append(_with_siblings(board, len(groups)))
    return boards


def _short(version: Version) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", version[0])[:8] + "-m" + re.sub(r"[^A-Za-z0-9]", "", version[1])[:8]


def _checked(record: CellRecord) -> CellRecord:
    """Refuse unusable subsets, and protocol names that cannot name a folder, since each board has one."""
    if record.result is None:
        return record
    info = record.result.protocol
    if not _SLUG.fullmatch(info.name):
        name = f"{info.name[:80]!r}"
        problem = f"{record.folder.name}: {name} cannot name a protocol; use letters, digits, '.', '_' and '-'."
        return replace(record, state="unreadable", result=None, problem=problem)
    try:
        format_subset(info.sequences)
    except UserError as error:
        problem = f"{record.folder.name}: {error}"
        return replace(record, state="unreadable", result=None, problem=problem)
    return record


def _with_siblings(board: Board, count: int) -> Board:
    if count == 1:
        return board
    notice = (
        f"Other results of {board.protocol.name} use another version of the protocol or of the metrics; "
        "they have boards of their own."
    )
    return replace(board, notices=(*board.notices, notice))


def _board(
    slug: str,
    measured: Sequence[CellRecord],
    reported: Sequence[CellRecord],
    failures: Sequence[CellRecord],
    unreadable: Sequence[CellRecord],
) -> Board:
    cells = [*measured, *reported]
    variants = sorted(group_variants(cells), key=lambda variant: KINDS.index(variant.kind))
    results = [cell.result for cell in cells if cell.result is not None]
    info = results[0].protocol
    tests = tuple(dict.fromkeys(row.test for result in results for row in result.rows))
    subsets = tuple(dict.fromkeys(subset for subset in info.subsets if subset != AS_AVAILABLE))
    labels = {row.subset for result in results for row in result.rows}
    subsets = (*subsets, *(label for label in (NOT_STATED, AS_AVAILABLE) if label in labels))
    metrics = _metric_names(name for result in results for row in result.rows for name in row.metrics)
    lines: list[Line] = []
    notices: list[str] = []
    for variant in variants:
        found, repeated = variant_lines(variant, tests, subsets)
        lines += found
        if repeated:
            notices.append(
                f"{variant.label}: left out {repeated} rows of earlier cells with the same seed; "
                "the newest cell of each seed counts."
            )
    full = format_subset(info.sequences)
    summaries, strangers = summarise(variants, lines, tests, subsets, full, metrics)
    resamples = Resamples()
    lines, summaries = add_uncertainty(lines, summaries, variants, full, resamples)
    notices += [f"Resamples could not be read: {problem}" for problem in dict.fromkeys(resamples.problems)]
    control = control_lines(cells, tests, subsets)
    return Board(
        slug=slug,
        protocol=info,
        metric_version=results[0].metric_version,
        tests=tests,
        subsets=subsets,
        full=full,
        metrics=metrics,
        variants=_ordered(variants, summaries, tests, metrics),
        lines=tuple(_marked(line, strangers) for line in lines),
        summaries=tuple(summaries),
        control=tuple(control),
        control_problem="" if control or not measured else _NO_CONTROL,
        failures=tuple(failures),
        unreadable=tuple(unreadable),
        notices=tuple(notices),
    )


def _metric_names(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    return (*(name for name in METRICS if name in found), *sorted(found - set(METRICS)))


def _marked(line: Line, strangers: dict[str, set[str]]) -> Line:
    return replace(line, flags=(*line.flags, "other test slices")) if line.variant in strangers[line.test] else line


def _ordered(
    variants: Sequence[Variant], summaries: Iterable[Summary], tests: Sequence[str], metrics: Sequence[str]
) -> tuple[Variant, ...]:
    """Order variants by kind, then by rank for the headline metric on the first test set, unranked ones last."""
    headline = headline_metric(metrics)
    ranks = {
        item.variant: item.rank
        for item in summaries
        if tests and item.test == tests[0] and item.metric == headline and item.rank is not None
    }

    def place(variant: Variant) -> tuple[int, int, str, str]:
        rank = ranks.get(variant.key, len(variants) + 1)
        return KINDS.index(variant.kind), rank, variant.label.casefold(), variant.key

    return tuple(sorted(variants, key=place))
