"""From the cells of a runs folder to boards, one per protocol."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from anyadbench.boards.aggregate.agreement import agreements
from anyadbench.boards.aggregate.controls import against_controls, hardest_subsets, judged, means_against_controls
from anyadbench.boards.aggregate.lines import shown_metrics, variant_lines
from anyadbench.boards.aggregate.model import KINDS, Board, Line, PairTable, Summary, Variant, headline_metric
from anyadbench.boards.aggregate.ranks import add_tests, summarise
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.boards.aggregate.uncertainty import Replicated, summary_intervals, with_intervals
from anyadbench.boards.aggregate.variants import group_variants
from anyadbench.errors import UserError
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import ProtocolInfo
from anyadbench.sequences import AS_AVAILABLE, format_subset

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Version = tuple[str, str]
Hardest = Mapping[tuple[str, str], str]


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
            board = _board(slug, groups[version], published[name], failures, unreadable, reported)
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
    tables: Sequence[CellRecord],
) -> Board:
    cells = [*measured, *reported]
    variants = sorted(group_variants(cells), key=lambda variant: KINDS.index(variant.kind))
    results = [cell.result for cell in cells if cell.result is not None]
    info = results[0].protocol
    tests = tuple(dict.fromkeys(row.test for result in results for row in result.rows))
    subsets = tuple(dict.fromkeys(subset for subset in info.subsets if subset != AS_AVAILABLE))
    labels = {row.subset for result in results for row in result.rows}
    subsets = (*subsets, *(label for label in (NOT_STATED, AS_AVAILABLE) if label in labels))
    rows = [row for result in results for row in result.rows]
    metrics = _metric_names(name for row in rows for name in shown_metrics(row))
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
    notices += _remarks(reported)
    notices += [
        f"Lesions of {test} are marked by boxes: its numbers are in the section on boxes, and nothing is ranked."
        for test in dict.fromkeys(row.test for row in rows if row.boxes is not None)
    ]
    summaries, strangers = summarise(variants, lines, tests, subsets, full, metrics, _unranked(info))
    replicated = Replicated()
    lines = with_intervals(lines, replicated)
    summaries, means = summary_intervals(summaries, lines, full, replicated)
    summaries, pairs = add_tests(summaries, variants, means)
    lines = against_controls(lines, variants, replicated)
    summaries = means_against_controls(summaries, lines, variants, means)
    lines, summaries = judged(lines, summaries, headline_metric(metrics))
    required = {(item.test, item.metric): set(item.subsets) for item in summaries}
    hardest = hardest_subsets(lines, variants, metrics, required, strangers)
    index = {(line.variant, line.test, line.subset): line for line in lines}
    summaries = [_with_hardest(item, index, hardest) for item in summaries]
    notices += [f"No intervals: {problem}" for problem in dict.fromkeys(replicated.problems)]
    notices += _untested({variant.key: variant.label for variant in variants}, pairs)
    return Board(
        slug=slug,
        protocol=info,
        metric_version=results[0].metric_version,
        tests=tests,
        subsets=subsets,
        full=full,
        metrics=metrics,
        variants=_ordered(variants, summaries, lines, tests, metrics),
        lines=tuple(_marked(line, strangers) for line in lines),
        summaries=tuple(summaries),
        pairs=pairs,
        hardest=hardest,
        agreements=agreements(variants, summaries, tables, strangers),
        failures=tuple(failures),
        unreadable=tuple(unreadable),
        notices=tuple(notices),
    )


def _metric_names(names: Iterable[str]) -> tuple[str, ...]:
    found = set(names)
    known = (*METRICS, *BRAIN, *HEIGHT, *BALANCED)
    return (*(name for name in known if name in found), *sorted(found - set(known)))


def _unranked(info: ProtocolInfo) -> dict[str, str]:
    """Return why some metrics rank nothing: the protocol decides beforehand which image scores do."""
    why = "Image metrics are ranked by the slice scores normalised by height, as the protocol says."
    return {name.removesuffix("_height"): why for name in HEIGHT} if info.rank_height else {}


def _untested(labels: Mapping[str, str], pairs: Mapping[tuple[str, str, str], PairTable]) -> list[str]:
    """Return which ranked methods are in no test, and why, one sentence for each method and test set.

    Where all methods are left out of a metric for one reason, it is named instead.
    """
    found: set[str] = set()
    metrics: dict[tuple[str, str], list[str]] = {}
    for (_, test, metric), table in pairs.items():
        if len({*table.keys, *table.left_out}) < 2:
            continue
        reasons = set(table.left_out.values())
        if table.left_out.keys() >= set(table.keys) and len(reasons) == 1:
            metrics.setdefault((test, reasons.pop()), []).append(metric)
        else:
            found |= {f"{labels[key]} is in no test on {test}: {why}" for key, why in table.left_out.items()}
    grouped = [
        f"No method is in a test of {', '.join(names)} on {test}: {why}" for (test, why), names in metrics.items()
    ]
    return [*grouped, *sorted(found)]


def _marked(line: Line, strangers: dict[str, set[str]]) -> Line:
    return replace(line, flags=(*line.flags, "other test slices")) if line.variant in strangers[line.test] else line


def _ordered(
    variants: Sequence[Variant],
    summaries: Iterable[Summary],
    lines: Iterable[Line],
    tests: Sequence[str],
    metrics: Sequence[str],
) -> tuple[Variant, ...]:
    """Order variants by kind, then by rank for the headline metric on the first test set, then by its value."""
    headline = headline_metric(metrics)
    first = {item.variant: item for item in summaries if tests and (item.test, item.metric) == (tests[0], headline)}
    unstated = {
        line.variant: line.value(headline)
        for line in lines
        if tests and (line.test, line.subset) == (tests[0], NOT_STATED)
    }

    def place(variant: Variant) -> tuple[int, int, float, str, str]:
        item = first.get(variant.key)
        rank = item.rank if item is not None and item.rank is not None else len(variants) + 1
        value = item.mean if item is not None and item.mean is not None else unstated.get(variant.key)
        return KINDS.index(variant.kind), rank, -(value or 0.0), variant.label.casefold(), variant.key

    return tuple(sorted(variants, key=place))


def _remarks(reported: Iterable[CellRecord]) -> list[str]:
    """Return what the tables of publications leave open or contradict, one sentence each."""
    said = [text for record in reported if record.result is not None for text in record.result.method.departures]
    return [f"Reported rows: {text}" for text in dict.fromkeys(said)]


def _with_hardest(item: Summary, lines: Mapping[tuple[str, str, str], Line], hardest: Hardest) -> Summary:
    subset = hardest.get((item.test, item.metric))
    line = lines.get((item.variant, item.test, subset)) if subset is not None else None
    estimate = line.metrics.get(item.metric) if line is not None else None
    return item if estimate is None or estimate.value is None else replace(item, hardest=estimate)
