"""Who beats whom: a picture of all pairs of methods, in order of rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from anyadbench.boards.aggregate.model import KINDS, Board, PairTable
from anyadbench.boards.render.parts.elements import frame, line, text
from anyadbench.boards.render.text import clean, metric_label, plural

_OPEN = 20
"""Up to this many methods, the picture is shown without a click."""


@dataclass(frozen=True)
class Matrix:
    """The pairs of one kind, test set and metric; ``reason`` explains why there is no picture."""

    kind: str
    test: str
    metric: str
    count: int
    plot: Markup | None
    reason: str

    @property
    def open(self) -> bool:
        """Whether the picture is shown without a click."""
        return self.count <= _OPEN


def matrices(board: Board) -> list[Matrix]:
    """Return a matrix for each kind, test set and metric with at least two ranked methods."""
    found = []
    for kind in KINDS:
        for test in board.tests:
            for metric in board.metrics:
                table = board.pairs.get((kind, test, metric))
                if table is not None and len(table.keys) > 1:
                    plot = None if table.reason else _picture(board, table, test, metric)
                    found.append(Matrix(kind, test, metric, len(table.keys), plot, table.reason))
    return found


def _picture(board: Board, table: PairTable, test: str, metric: str) -> Markup:
    """Draw a filled run where a row beats columns, a thin bar where columns beat it, nothing where no test decides."""
    n = len(table.keys)
    cell = 15.0 if n <= 20 else 12.0 if n <= 50 else 10.0
    left, top = 236.0, 30.0
    side = n * cell
    small = "tick" if n <= 50 else "tick small"
    body = []
    names = _short([board.variant(key).label for key in table.keys])
    for j in range(n):
        x = left + (j + 0.5) * cell
        body.append(_column(x, top - 4, str(j + 1), turn=cell < 15))
    for i, key in enumerate(table.keys):
        item, y = board.summary(key, test, metric), top + i * cell
        assert item is not None
        wins = table.beats[i]
        losses = [table.beats[j][i] for j in range(n)]
        ranks = "" if item.ranks is None else f" [{item.ranks[0]} to {item.ranks[1]}]"
        name = board.variant(key).label
        tip = f"{name}: better than {plural(sum(wins), 'method')}, worse than {sum(losses)}, open against "
        tip += str(n - 1 - sum(wins) - sum(losses))
        middle = y + cell / 2
        row = [
            Markup(f'<rect x="0" y="{y:.1f}" width="{left + side:.1f}" height="{cell:.1f}" class="hit"/>'),
            text(left - 6, middle + 3.5, f"{names[i]}  {i + 1}", small, "end"),
            text(4, middle + 3.5, f"{item.rank}{ranks}", small),
            *_runs(wins, left, y + 0.5, cell, cell - 1, "wins"),
            *_runs(losses, left, middle - 1, cell, 2.0, "loses"),
        ]
        body.append(Markup(f"<g><title>{Markup.escape(clean(tip))}</title>{Markup('').join(row)}</g>"))
    body += [line(left + j * cell, top, left + j * cell, top + side, "cut") for j in range(n + 1)]
    body.append(line(left, top, left + side, top + side, "diagonal"))
    body.append(text(4, top - 6, "rank [can be]", "axis"))
    spoken = f"Who beats whom in {metric_label(metric)} on {test}: {n} methods in order of rank"
    return frame(left + side + 8, top + side + 6, spoken, body)


def _short(labels: Sequence[str]) -> list[str]:
    """Return labels of at most 22 characters: their beginnings, and their ends too where beginnings repeat."""
    whole = [clean(label) for label in labels]
    short = [clean(label, 22) for label in whole]
    return [
        f"{name[:10]}\N{HORIZONTAL ELLIPSIS}{name[-11:]}" if short.count(begin) > 1 else begin
        for name, begin in zip(whole, short, strict=True)
    ]


def _column(x: float, y: float, name: str, *, turn: bool) -> Markup:
    if not turn:
        return text(x, y, name, "tick", "middle")
    return Markup(f'<text transform="translate({x + 3.5:.1f} {y:.1f}) rotate(-90)" class="tick small">{name}</text>')


def _runs(flags: Sequence[bool], left: float, y: float, cell: float, height: float, kind: str) -> list[Markup]:
    """Return neighbouring cells as one path, so that 100 methods stay a small picture."""
    path, start = "", None
    for j, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = j
        elif not flag and start is not None:
            wide = (j - start) * cell
            path += f"M{left + start * cell:.1f} {y:.1f}h{wide:.1f}v{height:.1f}h-{wide:.1f}z"
            start = None
    return [Markup(f'<path d="{path}" class="{kind}"/>')] if path else []
