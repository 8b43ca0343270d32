"""Boards as CSV: ``leaderboard.csv`` in long form and ``summary.csv`` in wide form."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from anyadbench.boards.aggregate.model import Against, Board, Line, Variant
from anyadbench.boards.aggregate.reported import NOT_STATED
from anyadbench.boards.encoders.table import variant_encoder
from anyadbench.boards.render.parts.costs import COUNTS, columns, devices, variant_costs
from anyadbench.boards.render.parts.prevalence import abnormal_share, lesion_share
from anyadbench.boards.render.parts.remarks import own_remark, shared_remark
from anyadbench.boards.render.text import clean, six
from anyadbench.boards.scans.csvfile import line_columns
from anyadbench.sequences import AS_AVAILABLE

_TEXT_LIMIT = 4000
_COUNTS = ("n_subjects", "n_scans", "n_slices", "n_normal", "n_abnormal")
_METHOD = (
    "kind", "method", "title", "variant", "distribution", "version", "code_hash", "params", "budget", "encoder",
    "weights", "weights_kind", "weights_sha256", "weights_marked", "missing", "training_mask", "dtype", "device",
)  # fmt: skip
_PROTOCOL = ("protocol", "protocol_version", "protocol_hash", "metric_version")
_ESTIMATE = ("low", "high", "seed_min", "seed_max")
_AGAINST = (
    "control", "above_control", "above_control_low", "above_control_high", "above_control_p", "above_control_p_holm",
    "verdict",
)  # fmt: skip
_THRESHOLD = ("value", "dice", "sensitivity", "specificity", "precision", "tp", "fp", "fn", "tn")


def safe_text(value: str) -> str:
    """Neutralise text that a spreadsheet would read as a formula, and keep it on one line.

    Pass only text: a negative number must stay a number.
    """
    shown = clean(value, _TEXT_LIMIT).strip()
    return "'" + shown if shown.startswith(("=", "+", "-", "@")) else shown


def leaderboard_csv(board: Board) -> str:
    """Return one row per variant, test set and subset, controls last, with every number's interval and origin."""
    costs = columns(board)
    heads = [*_METHOD, "test", "subset", "sequences", "feed", "seeds", *_COUNTS, "abnormal_share", "lesion_share"]
    for metric in board.metrics:
        heads += [metric, *(f"{metric}_{name}" for name in (*_ESTIMATE, *_AGAINST))]
    heads += [f"threshold_{name}" for name in _THRESHOLD]
    heads += list(dict.fromkeys(name for line in board.lines for name in _size_cells(line) | line_columns(line)))
    heads += ["flags", "reasons", *costs, "cell_ids", "fit_ids", "source", *_PROTOCOL]
    rows = []
    for variant in board.variants:
        whole = _method_cells(variant) | _cost_cells(variant, costs) | _protocol_cells(board)
        for test in board.tests:
            for subset in board.subsets:
                line = board.line(variant.key, test, subset)
                assert line is not None
                rows.append(whole | _line_cells(board, line, variant.flags))
    return _write(heads, rows)


def summary_csv(board: Board) -> str:
    """Return one row per variant, test set and metric, with a column for each subset."""
    costs = columns(board)
    heads = [
        *_METHOD, "test", "metric", "rank", "rank_best", "rank_worst", "tie_group", "mean", "mean_low", "mean_high",
        *(f"mean_{name}" for name in _AGAINST), "subjects_needed", "worst", "worst_subset", "hardest", "hardest_low",
        "hardest_high", "hardest_subset", "full_subset", *(f"value {subset}" for subset in board.subsets),
        *(f"drop {subset}{end}" for subset in _partial(board) for end in ("", " low", " high")),
        "subsets_covered", "subsets_required", "seeds", *costs, "flags", "reason", "departures", "source", *_PROTOCOL,
    ]  # fmt: skip
    rows = []
    for variant in board.variants:
        for test in board.tests:
            for metric in board.metrics:
                cells = _summary_cells(board, variant, test, metric)
                rows.append(_method_cells(variant) | _cost_cells(variant, costs) | cells)
    return _write(heads, rows)


def _partial(board: Board) -> list[str]:
    """Return the subsets without some sequence."""
    return [subset for subset in board.subsets if subset not in (board.full, AS_AVAILABLE, NOT_STATED)]


def _write(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [safe_text(name) for name in columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _method_cells(variant: Variant) -> dict[str, str]:
    method, weights = variant.method, variant.weights
    return {
        "kind": variant.kind,
        "method": safe_text(method.name),
        "title": safe_text(method.title),
        "variant": safe_text(variant.label),
        "distribution": safe_text(method.distribution),
        "version": safe_text(method.version),
        "code_hash": safe_text(method.code_hash),
        "params": safe_text(json.dumps(method.params, sort_keys=True, ensure_ascii=False)),
        "budget": method.budget,
        "encoder": safe_text(variant_encoder(variant)),
        "weights": safe_text(weights.name),
        "weights_kind": weights.kind,
        "weights_sha256": safe_text(weights.sha256 or ""),
        "weights_marked": "true" if weights.marked else "false",
        "missing": safe_text(method.missing),
        "training_mask": safe_text(method.training_mask),
        "dtype": variant.dtype,
        "device": safe_text(" ".join(devices(variant))),
        "source": safe_text(variant.source),
    }


def _cost_cells(variant: Variant, names: Sequence[str]) -> dict[str, str]:
    """Return what a variant costs, averaged over its cells: three decimals, whole numbers for counts."""
    found = variant_costs(variant)
    return {name: f"{found[name]:.0f}" if name in COUNTS else f"{found[name]:.3f}" for name in names if name in found}


def _protocol_cells(board: Board) -> dict[str, str]:
    info = board.protocol
    return {
        "protocol": safe_text(info.name),
        "protocol_version": str(info.version),
        "protocol_hash": safe_text(info.hash),
        "metric_version": safe_text(board.metric_version),
    }


def _line_cells(board: Board, line: Line, flags: Sequence[str]) -> dict[str, str]:
    cells = {
        "test": safe_text(line.test),
        "subset": safe_text(line.subset),
        "sequences": safe_text(" ".join(line.sequences)),
        "feed": safe_text(" ".join(f"{slot}={source}" for slot, source in sorted(line.feed.items()))),
        "seeds": " ".join(map(str, line.seeds)),
        "flags": "; ".join((*flags, *line.flags)),
        "reasons": safe_text(_reasons(board, line)),
        "cell_ids": safe_text(" ".join(line.cell_ids)),
        "fit_ids": safe_text(" ".join(line.fit_ids)),
    }
    cells |= {name: str(getattr(line, name)) for name in _COUNTS}
    cells |= {"abnormal_share": six(abnormal_share(line)), "lesion_share": six(lesion_share(line))}
    for metric, estimate in line.metrics.items():
        cells[safe_text(metric)] = six(estimate.value)
        for name in _ESTIMATE:
            cells[safe_text(f"{metric}_{name}")] = six(getattr(estimate, name))
        cells |= _against_cells(board, metric, line.against.get(metric))
    if line.threshold is not None:
        for name in _THRESHOLD:
            value = getattr(line.threshold, name)
            cells[f"threshold_{name}"] = str(value) if isinstance(value, int) else six(value)
    return cells | _size_cells(line) | line_columns(line)


def _against_cells(board: Board, name: str, found: Against | None) -> dict[str, str]:
    """Return the comparison of a number with the best control: how far above it, with interval, p-value and verdict."""
    if found is None:
        return {}
    values = (
        board.variant(found.control).method.name, six(found.difference), six(found.low), six(found.high), six(found.p),
        six(found.p_holm), found.verdict,
    )  # fmt: skip
    return {safe_text(f"{name}_{part}"): value for part, value in zip(_AGAINST, values, strict=True)}


def _size_cells(line: Line) -> dict[str, str]:
    """Return the metrics by lesion size, in pixels of the native slice."""
    cells = {}
    for size in line.sizes:
        name = f"size_{size.low}_{'up' if size.high is None else size.high - 1}"
        cells[f"{name}_n"] = str(size.n)
        cells |= {f"{name}_{metric}": six(value) for metric, value in size.metrics.items()}
    return cells


def _reasons(board: Board, line: Line) -> str:
    if not line.covered:
        return line.reason or "; ".join(dict.fromkeys(e.reason for e in line.metrics.values() if e.reason))
    shared = shared_remark(line)
    found = {
        name: estimate.reason or estimate.no_interval or own_remark(estimate, shared)
        for name, estimate in line.metrics.items()
    }
    listed = [f"{name}: {found[name]}" for name in board.metrics if found.get(name)]
    return "; ".join([*([f"intervals: {shared}"] if shared else []), *listed])


def _summary_cells(board: Board, variant: Variant, test: str, metric: str) -> dict[str, str]:
    item = board.summary(variant.key, test, metric)
    assert item is not None
    lines = {subset: board.line(variant.key, test, subset) for subset in board.subsets}
    flags = dict.fromkeys([*variant.flags, *(flag for line in lines.values() if line for flag in line.flags)])
    cells = {
        "test": safe_text(test),
        "metric": safe_text(metric),
        "rank": "" if item.rank is None else str(item.rank),
        "rank_best": "" if item.ranks is None else str(item.ranks[0]),
        "rank_worst": "" if item.ranks is None else str(item.ranks[1]),
        "tie_group": "" if item.group is None else str(item.group),
        "mean": six(item.mean),
        "mean_low": six(item.mean_interval[0]),
        "mean_high": six(item.mean_interval[1]),
        "subjects_needed": "" if item.needed is None else str(item.needed),
        "worst": six(item.worst),
        "worst_subset": safe_text(item.worst_subset),
        "full_subset": safe_text(board.full),
        "subsets_covered": str(item.covered),
        "subsets_required": str(item.required),
        "seeds": " ".join(map(str, variant.seeds)),
        "flags": "; ".join(flags),
        "reason": safe_text(item.reason),
        "departures": safe_text(" | ".join(variant.method.departures)),
    }
    cells |= _against_cells(board, "mean", item.against)
    if item.hardest is not None:
        ends = {"hardest": item.hardest.value, "hardest_low": item.hardest.low, "hardest_high": item.hardest.high}
        cells |= {name: six(value) for name, value in ends.items()}
        cells["hardest_subset"] = safe_text(board.hardest[test, metric])
    for subset, line in lines.items():
        cells[safe_text(f"value {subset}")] = six(line.value(metric)) if line else ""
    for subset in _partial(board):
        low, high = item.drop_intervals.get(subset, (None, None))
        cells[safe_text(f"drop {subset}")] = six(item.drops.get(subset))
        cells |= {safe_text(f"drop {subset} low"): six(low), safe_text(f"drop {subset} high"): six(high)}
    return cells | _protocol_cells(board)
