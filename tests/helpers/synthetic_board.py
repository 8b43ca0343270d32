"""A board of any size in memory: methods, a control, comparisons with it, and all pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from boards_fixture import METRICS, SEQUENCES, SUBSETS, FakeMethod, result_data

from anyadbench.boards.aggregate.model import Against, Board, Estimate, Line, PairTable, Summary, Variant
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import CellResult, Threshold

TEST = "phantom"
CONTROL = "control"


def synthetic_board(count: int = 12, *, notices: tuple[str, ...] = (), title: str = "Method") -> Board:
    """Return a board whose i-th method, from 0, has .9 - .8 i / count everywhere, +-.02 by subset; the control has .6.

    A method is better than the control by more than .1, not significantly better above it, and below it otherwise.
    A method beats those that are at least a quarter of all methods below it.
    """
    variants = [_variant(i, f"{title} {i}") for i in range(count)]
    control = replace(_variant(count, "Brightness (control)"), key=CONTROL, kind="control")
    lines: list[Line] = []
    summaries: list[Summary] = []
    for i, variant in enumerate([*variants, control]):
        level = 0.6 if variant is control else 0.9 - 0.8 * i / count
        against = None if variant is control else _against(level)
        lines += [_line(variant, subset, level + 0.01 * (k % 3 - 1), against) for k, subset in enumerate(SUBSETS)]
        summaries += [_summary(variant, metric, level, i, count, against) for metric in METRICS]
    keys = tuple(variant.key for variant in variants)
    far = max(1, count // 4)
    beats = tuple(tuple(j - i >= far for j in range(count)) for i in range(count))
    result = variants[0].cells[0].result
    assert result is not None
    return Board(
        slug="phantom-7subsets",
        protocol=result.protocol,
        metric_version="2",
        tests=(TEST,),
        subsets=SUBSETS,
        full=SUBSETS[-1],
        metrics=METRICS,
        variants=(*variants, control),
        lines=tuple(lines),
        summaries=tuple(summaries),
        pairs={("measured", TEST, metric): PairTable(keys, beats) for metric in METRICS},
        hardest={(TEST, metric): "T1" for metric in METRICS},
        notices=notices,
    )


def _variant(number: int, label: str) -> Variant:
    changes: dict[str, Any] = {"train.parameters": 1000 * (number + 1), "memory.device_mb": 500.0 + number}
    departures = [f"Departure {number}.1", f"Departure {number}.2"]
    method = FakeMethod(f"m{number}", label, departures=departures, changes=changes, slow=1 + number % 5)
    result = CellResult.model_validate(result_data(method, 0, [], "phantom-7subsets") | {"schema_version": 4})
    cell = CellRecord(Path("/nowhere"), "done", method.name, "phantom-7subsets", 0, result=result)
    return Variant(f"key{number}", label, "measured", result.method, result.weights, "float32", (cell,))


def _against(level: float) -> Against:
    difference = level - 0.6
    if difference <= 0:
        return Against(CONTROL, difference, difference - 0.1, difference + 0.1, 0.4, "below")
    if difference > 0.1:
        return Against(CONTROL, difference, difference - 0.05, difference + 0.05, 0.001, "better")
    return Against(CONTROL, difference, difference - 0.1, difference + 0.1, 0.2, "not better")


def _line(variant: Variant, subset: str, value: float, against: Against | None) -> Line:
    return Line(
        variant.key, TEST, subset, sequences=SEQUENCES[: subset.count("+") + 1], seeds=(0,), n_subjects=8, n_scans=8,
        n_slices=80, n_normal=36, n_abnormal=44, covered=True,
        metrics={metric: Estimate(value, value - 0.05, value + 0.05) for metric in METRICS},
        threshold=Threshold(value=0.2, tp=60, fp=10, fn=40, tn=9890),
        flags=() if against is None or against.verdict == "better" else ("not above the controls",),
        against={} if against is None else dict.fromkeys(METRICS, against),
    )  # fmt: skip


def _summary(variant: Variant, metric: str, level: float, place: int, count: int, against: Against | None) -> Summary:
    ranked = variant.key != CONTROL
    return Summary(
        variant.key, TEST, metric, mean=level, worst=level - 0.01, worst_subset="F", full=level - 0.01,
        drops={subset: 0.01 * k for k, subset in enumerate(SUBSETS[:-1])}, covered=7, required=7,
        rank=place + 1 if ranked else None, reason="" if ranked else "A control: shown, never ranked.",
        subsets=SUBSETS, group=1 + 4 * place // count if ranked else None,
        ranks=(max(1, place - 2), min(count, place + 4)) if ranked else None, needed=40 if ranked and place else None,
        mean_interval=(level - 0.04, level + 0.04), hardest=Estimate(level, level - 0.05, level + 0.05),
        against=against,
    )  # fmt: skip
