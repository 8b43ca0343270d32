"""Sentences that say what a board decides: who beats the controls, which groups there are, what agrees with papers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from anyadbench.boards.aggregate.model import Agreement, Board, Variant
from anyadbench.boards.render.text import decimal, metric_label, plural

CORRECTED = "paired tests, p at most .05 after Holm's correction for all methods and subsets of the board"
"""What a verdict against the controls rests on."""

_TRAINED = ("measured", "oracle", "external")


def verdicts(board: Board) -> list[str]:
    """Return the sentences that a reader needs first, most important first."""
    return [*_controls(board), *_normals(board), *_groups(board), *_agreement(board)]


def _normals(board: Board) -> list[str]:
    """Return what is trained on, where that is not lesion-free slices of patients."""
    if board.protocol.normals == "lesion-free":
        return []
    return [
        "Every method trained here was trained on healthy subjects, and its thresholds come from healthy validation "
        "subjects."
    ]


def _controls(board: Board) -> list[str]:
    """Return how many methods beat the controls on how many subsets, in the headline metric."""
    found, metric = [], board.headline
    methods = [variant for variant in board.variants if variant.kind in _TRAINED]
    for test in board.tests:
        where = f" on {test}" if len(board.tests) > 1 else ""
        subsets = _compared_subsets(board, test)
        by_method = {
            variant.key: [
                line.against[metric]
                for subset in subsets
                if (line := board.line(variant.key, test, subset)) is not None and metric in line.against
            ]
            for variant in methods
        }
        compared = {key: said for key, said in by_method.items() if said}
        if not compared:
            found += [_uncompared(board, methods, test, where)] if methods else []
            continue
        some = sum(any(one.verdict == "better" for one in said) for said in compared.values())
        # A method without a number on some subset beats no control there.
        every = sum(
            len(said) == len(subsets) and all(one.verdict == "better" for one in said) for said in compared.values()
        )
        verb = "beats" if len(compared) == 1 else "beat"
        sentence = (
            f"{metric_label(metric)}{where}: {some} of {plural(len(compared), 'method')} {verb} the better of brain "
            f"mask and brightness on at least one of {plural(len(subsets), 'subset')}, {every} on all ({CORRECTED})."
        )
        untested = Counter(one.reason for said in compared.values() for one in said if one.verdict == "untested")
        for reason, count in untested.most_common():
            why = reason.removeprefix("No test: ").removeprefix("No p-value: ") or "no reason is known."
            sentence += f" {plural(count, 'number')} above a control could not be tested: {why}"
        found.append(sentence)
    return found


def _compared_subsets(board: Board, test: str) -> list[str]:
    """Return the subsets on which some control has the headline metric: a test set may have fewer than the protocol."""
    return [
        subset
        for subset in board.subsets
        if subset in board.protocol.subsets
        and any(
            (line := board.line(control.key, test, subset)) is not None and line.value(board.headline) is not None
            for control in board.controls
        )
    ]


def _uncompared(board: Board, methods: Sequence[Variant], test: str, where: str) -> str:
    """Return why no number of a test set is compared with a control."""
    if not board.controls:
        return f"No control was run{where}, so nothing says what brightness alone reaches."
    lines = [line for line in board.lines if line.test == test and line.variant in {one.key for one in methods}]
    if all(line.value(board.headline) is None for line in lines):
        return f"{metric_label(board.headline)}{where} is undefined for every method, so none is compared in it."
    return f"No control was scored on the slices of a method{where}, so nothing says what brightness alone reaches."


def _groups(board: Board) -> list[str]:
    found = []
    for (kind, test, metric), table in board.pairs.items():
        if metric != board.headline or len(table.keys) < 2:
            continue
        where = f" on {test}" if len(board.tests) > 1 else ""
        if table.reason:
            found.append(f"Nothing separates the {kind} methods{where}: {table.reason}")
            continue
        groups = [item.group for key in table.keys if (item := board.summary(key, test, metric)) and item.group]
        first = sum(group == 1 for group in groups)
        tested, ranked = len(table.keys), len(table.keys) + len(table.left_out)
        who = f"{tested} of {ranked} {kind} methods" if table.left_out else f"the {plural(tested, f'{kind} method')}"
        found.append(
            f"Tests separate {who}{where} into {plural(max(groups), 'group')}"
            f"; {'one is' if first == 1 else f'{first} are'} in the first."
        )
    return found


def _agreement(board: Board) -> list[str]:
    by_table: dict[tuple[str, str], list[Agreement]] = {}
    for item in board.agreements:
        by_table.setdefault((item.source, item.test), []).append(item)
    found = []
    for (source, test), items in by_table.items():
        where = f" on {test}" if len(board.tests) > 1 else ""
        alike = len({item.n for item in items}) == 1
        parts = [
            f"{metric_label(item.metric)} {decimal(item.rho, 2)}" + ("" if alike else f" ({item.n} in common)")
            for item in items
        ]
        common = f", {items[0].n} in common" if alike else ""
        whom = f"with the methods reported for {source}{common}"
        found.append(f"Rank correlation (Spearman){where} {whom}: {', '.join(parts)}.")
    return found
