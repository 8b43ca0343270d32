"""Whole scans, alarms and sites as tables, the same for the page, for Markdown, and for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from anyadbench.boards.aggregate.model import Board, Estimate, Line, ScanLine, Variant
from anyadbench.boards.render.text import DASH, decimal, metric_short, percent, plural, span
from anyadbench.results.schema import Alarms

LABELS: Mapping[str, str] = {
    "dice": "3-D Dice",
    "dice_common": "common best",
    "dice_best": "own best",
    "lesion_ap": "Lesion AP",
    "froc": "FROC",
    "froc_1": "at 1 alarm",
    "lesion_f1": "Lesion F1",
    "lesion_sensitivity": "Found",
    "alarms_per_scan": "Alarms / scan",
}
"""Columns of the table of whole scans, besides volume."""

SHORT = ("dice", "lesion_ap", "froc", "lesion_f1", "alarms_per_scan")
"""Columns on a terminal."""

NO_BINS = "The result has no lesions by volume, or its seeds have different ones."
"""Why a method has no number by volume."""


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what stands below it in small letters, and what explains it."""

    text: str
    below: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a row of heads; the first column holds names."""

    test: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def has_scans(board: Board) -> bool:
    """Whether any line has numbers of whole scans, alarms, sites or boxes."""
    return any(line.scans or line.alarms or line.sites or line.boxes for line in board.lines)


def rules(board: Board) -> list[str]:
    """Return the sentences of the rules by which lesions are found: one, unless protocols were mixed."""
    return list(dict.fromkeys(line.scans.rule for line in board.lines if line.scans is not None))


def scan_tables(board: Board) -> Iterator[Table]:
    """Yield for each variant and test set the numbers of whole scans by subset."""
    for variant, test, lines in _groups(board):
        rows = tuple(_scan_cells(line) for line in lines if line.scans is not None)
        if rows:
            heads = ("Subset", "Scans / lesions", *LABELS.values(), "Volume (ml)")
            yield Table(test, variant.label, heads, rows)


def alarm_sentences(board: Board) -> list[str]:
    """Return one sentence for each method: on how many rows a promise is broken, as the rows' flags count it."""
    found: dict[str, list[tuple[int, list[Alarms]]]] = {}
    for line in board.lines:
        made = [one for _, one in line.alarms if one.threshold is not None]
        if made:
            found.setdefault(board.variant(line.variant).label, []).append((len(line.seeds), made))
    sentences = []
    for label, rows in found.items():
        promises = sorted({one.promise for _, made in rows for one in made})
        limits = " or ".join(f"{100 * promise:g}" for promise in promises)
        broken = sum(any(one.broken for one in made) for _, made in rows)
        seeds = max(count for count, _ in rows)
        where = f" in at least one of {seeds} seeds" if seeds > 1 else ""
        sentences.append(
            f"Healthy subjects, {label}: a promise of at most {limits} % alarms is broken on {broken} of "
            f"{plural(len(rows), 'row')}{where}."
        )
    return sentences


def short_table(board: Board, test: str, keys: Sequence[str]) -> Table | None:
    """Return the main numbers of some variants with all sequences, or ``None`` if there are none."""
    rows = []
    for key in keys:
        variant, line = board.variant(key), board.line(key, test, board.full)
        if line is not None and line.scans is not None:
            cells = [_text_of(line.scans.metrics.get(name), name) for name in SHORT]
            counts = f"{line.scans.n_scans} / {line.scans.n_lesions}"
            rows.append((Cell(variant.label), Cell(counts), *(Cell(text) for text in cells)))
    heads = ("method", "scans/les.", "3-D Dice", "les. AP", "FROC", "les. F1", "alarms/scan")
    return Table(test, f"Whole scans of {test}, {board.full}", heads, tuple(rows)) if rows else None


def bin_tables(board: Board) -> Iterator[Table]:
    """Yield for each test set the lesion-wise F1 by volume of all variants, with all sequences."""
    for test in board.tests:
        found = [
            (variant, line.scans)
            for variant in board.variants
            if (line := board.line(variant.key, test, board.full)) is not None and line.scans is not None
        ]
        bins = next((scans.bins for _, scans in found if scans.bins), ())
        if not bins:
            continue
        heads = tuple(_bin_head(one["low_ml"], one["high_ml"]) for one in bins)
        rows = tuple((Cell(variant.label), *_bin_cells(scans)) for variant, scans in found)
        yield Table(test, f"Lesion F1 by volume, {board.full}", ("Method", *heads), rows)


def alarm_tables(board: Board) -> Iterator[Table]:
    """Yield for each variant and test set the alarms of healthy subjects at each promise."""
    heads = ("Subset", "Promise", "Alarms", "Share of healthy subjects", "Verdict", "Patients that alarm")
    for variant, test, lines in _groups(board):
        rows = [
            (_named(line, seed, len(line.seeds)), *_alarm_cells(one)) for line in lines for seed, one in line.alarms
        ]
        if rows:
            yield Table(test, variant.label, heads, tuple(rows))


def group_tables(board: Board) -> Iterator[Table]:
    """Yield the alarms of each seed by age, sex and site at the promise of 5 %, or the next with a threshold."""
    for variant, test, lines in _groups(board):
        rows = []
        for line in lines:
            for seed, one in _most_telling(line):
                for group in one.groups:
                    share = f"{group.alarms} of {group.n}"
                    cells = (group.by, group.name, f"{100 * one.promise:g} %", share, span(group.low, group.high))
                    rows.append((_named(line, seed, len(line.seeds)), *(Cell(text) for text in cells)))
        if rows:
            heads = ("Subset", "By", "Group", "Promise", "Alarms", "95 % interval")
            yield Table(test, variant.label, heads, tuple(rows))


def site_tables(board: Board) -> Iterator[Table]:
    """Yield for each variant and test set the main metrics by site."""
    for variant, test, lines in _groups(board):
        rows: list[tuple[Cell, ...]] = []
        names: list[str] = []
        for line in lines:
            for site in line.sites:
                names = names or list(site.metrics)
                values = [
                    Cell(decimal(site.metrics.get(name)), span(*site.intervals.get(name, (None, None))), site.reason)
                    for name in names
                ]
                counts = f"{site.n_subjects} / {site.n_slices}"
                rows.append((Cell(line.subset), Cell(site.site), Cell(counts), *values))
        if rows:
            heads = ("Subset", "Site", "Subjects / slices", *(metric_short(name) for name in names))
            yield Table(test, variant.label, heads, tuple(rows))


def _groups(board: Board) -> Iterator[tuple[Variant, str, list[Line]]]:
    for variant in board.variants:
        for test in board.tests:
            found = [board.line(variant.key, test, subset) for subset in board.subsets]
            yield variant, test, [line for line in found if line is not None]


def _scan_cells(line: Line) -> tuple[Cell, ...]:
    scans = line.scans
    assert scans is not None
    cells = [Cell(line.subset), Cell(f"{scans.n_scans} / {scans.n_lesions}", f"{scans.n_subjects} subjects")]
    for name in LABELS:
        one = scans.metrics.get(name)
        below = "" if one is None else _ends(one, name)
        cells.append(Cell(_text_of(one, name), below, "" if one is None else one.reason or one.no_interval))
    bias = scans.metrics.get("volume_bias_ml")
    limits = [scans.metrics.get(f"volume_{end}_ml") for end in ("low", "high")]
    known = [one.value for one in limits if one is not None and one.value is not None]
    agreement = f"limits {_ml(known[0])} to {_ml(known[1])}" if len(known) == 2 else ""
    value = None if bias is None else bias.value
    cells.append(Cell(DASH if value is None else _ml(value), agreement, "" if bias is None else bias.reason))
    return tuple(cells)


def _ends(one: Estimate, name: str) -> str:
    if one.low is None or one.high is None:
        return ""
    return f"[{one.low:.2f}, {one.high:.2f}]" if name == "alarms_per_scan" else span(one.low, one.high)


def _text_of(one: Estimate | None, name: str) -> str:
    if one is None or one.value is None:
        return DASH
    return f"{one.value:.2f}" if name == "alarms_per_scan" else decimal(one.value)


def _ml(value: float) -> str:
    return f"{value:+.3g}"


def _bin_head(low: float, high: float | None) -> str:
    return f"from {low:g} ml" if high is None else f"below {high:g} ml" if not low else f"{low:g} to {high:g} ml"


def _bin_cells(scans: ScanLine) -> list[Cell]:
    """Return the F1 of each bin above its lesions; dashes for seeds whose lesions differ, which are never averaged."""
    from anyadbench.metrics.lesions.volumes import BIN_NAMES

    if not scans.bins:
        return [Cell(DASH, title=NO_BINS)] * len(BIN_NAMES)
    cells = []
    for name, one in zip(BIN_NAMES, scans.bins, strict=True):
        estimate = scans.metrics.get(f"lesion_f1_{name}")
        below = plural(one["lesions"], "lesion")
        if one["found"] is not None and one["alarms"] is not None:
            below = f"{one['found']:.3g} of {one['lesions']} found, {one['alarms']:.3g} false"
        cells.append(Cell(_text_of(estimate, name), below, "" if estimate is None else estimate.reason))
    return cells


def _named(line: Line, seed: int, seeds: int) -> Cell:
    return Cell(line.subset, f"seed {seed}" if seeds > 1 else "")


def _alarm_cells(one: Alarms) -> tuple[Cell, ...]:
    promise = Cell(f"at most {100 * one.promise:g} %", f"{one.n_validation} validated on")
    if one.threshold is None or one.rate is None:
        return promise, Cell(DASH), Cell(DASH), Cell("no promise", title=one.reason), Cell(DASH)
    verdict = "broken" if one.broken else "kept" if one.rate <= one.promise else "not refuted"
    p = "" if one.p is None else f"p = {one.p:.3f}"
    patients = Cell(DASH)
    if one.sensitivity is not None:
        ends = span(one.sensitivity_low, one.sensitivity_high)
        patients = Cell(f"{one.detected} of {one.n_patients}", ends)
    share = Cell(percent(one.rate), span(one.low, one.high))
    return promise, Cell(f"{one.alarms} of {one.n_healthy}"), share, Cell(verdict, p), patients


def _most_telling(line: Line) -> list[tuple[int, Alarms]]:
    """Return, for each seed, the promise of 5 %, or if there is none the next that can be made."""
    found = []
    for seed in line.seeds:
        own = [one for number, one in line.alarms if number == seed and one.threshold is not None]
        found += [(seed, one) for one in sorted(own, key=lambda one: (one.promise < 0.05, one.promise))[:1]]
    return found
