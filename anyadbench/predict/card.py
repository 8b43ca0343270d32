"""A cell's model card in Markdown, from its files alone, without importing a method or torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anyadbench.data.slices.rules import PERCENTILE, IntensityRules
from anyadbench.metrics.names import BRAIN
from anyadbench.plugins import all_layouts
from anyadbench.predict.findings.ranges import reference_ranges
from anyadbench.predict.prediction import USE
from anyadbench.results.training import described
from anyadbench.sequences import SHORT, parse_subset

if TYPE_CHECKING:
    from anyadbench.predict.cell import TrainedCell
    from anyadbench.results import Row

COLUMNS = (
    ("image_auroc", "image AUROC"), ("image_ap", "image AP"), ("pixel_auroc", "pixel AUROC"), ("pixel_ap", "pixel AP"),
    ("aupro", "AUPRO"), ("pixel_f1", "Dice at its best threshold"),
)  # fmt: skip
"""Metrics on a card; the others are in ``result.json``."""

SCAN_COLUMNS = (
    ("dice", "3-D Dice"), ("dice_best", "Dice at each scan's best threshold"), ("lesion_ap", "lesion AP"),
    ("froc", "FROC"), ("lesion_f1", "lesion F1"), ("alarms_per_scan", "false alarms per scan"),
)  # fmt: skip
"""Numbers of whole scans on a card."""

MOST_LOSSES = 20
"""Losses that a card draws."""


def card_markdown(cell: TrainedCell) -> str:
    """Return the card: description, data, protocol, metrics with intervals, limits, and provenance."""
    result = cell.result
    title = f"{result.method.title} on {result.protocol.title}"
    parts = [f"# {_text(title)}", f"**{USE}**", _what(cell), "## Data", _data(cell), "## Protocol", _protocol(cell)]
    parts += ["## Training", _training(cell)] if result.training else []
    parts += ["## Metrics", _metrics(cell), *_inside(cell), *_by_area(cell), *_whole_scans(cell), *_alarms(cell)]
    parts += ["## Reference ranges", reference_ranges(cell), "## Limits", _bullets(_limits(cell)), "## Use", _use(cell)]
    parts += ["## Provenance", _provenance(cell)]
    return "\n\n".join(parts) + "\n"


def _what(cell: TrainedCell) -> str:
    method = cell.result.method
    lines = [
        f"Anomaly maps of axial slices of {_names(cell.protocol.sequences)}, or of any subset of them.",
        f"Method `{method.name}` of {method.distribution} {method.version}, budget `{method.budget}`, seed "
        f"{cell.result.seed}. {_text(method.citation)}",
    ]
    return "\n".join(lines)


def _data(cell: TrainedCell) -> str:
    lines = []
    for name, entry in cell.manifest.get("data", {}).items():
        chosen = entry.get("selection", {})
        subjects = ", ".join(f"{len(own)} {part}" for part, own in chosen.get("subjects", {}).items())
        slices = ", ".join(
            f"{sum(map(len, by_scan.values()))} {kind.replace('_', ' ')}"
            for kind, by_scan in chosen.get("slices", {}).items()
        )
        lines.append(f"`{name}`: subjects {subjects}; slices {slices}; split `{str(chosen.get('hash', ''))[:16]}`.")
        layout = all_layouts().get(name)
        if layout is not None:
            lines.append(f"{_text(layout.title)}. Licence: {_text(layout.licence)}. Cite: {_text(layout.citation)}.")
    train = cell.result.train
    if "source" in train:
        lines.append(f"The method's state: {train['source']}; whether it has seen these test subjects is unknown.")
    lines.append(
        f"Trained on {train.get('slices', 0)} {cell.protocol.trains_on} of `{cell.protocol.train}` in "
        f"{train.get('steps', 0)} steps; validation: {train.get('validation', 'none')}."
    )
    lines.append(
        f"Slices of {cell.grid[0]} × {cell.grid[1]} pixels of {cell.spacing[0]:g} × {cell.spacing[1]:g} mm; a new scan "
        "is resampled to them, and its maps are resampled back."
    )
    return _bullets(lines)


def _protocol(cell: TrainedCell) -> str:
    protocol, rules = cell.protocol, cell.protocol.slices
    lines = [
        f"`{protocol.name}` version {protocol.version} (hash {protocol.hash[:16]}), sequences "
        f"{_names(protocol.sequences)}.",
        f"Split by subject: {protocol.split.train:g} / {protocol.split.validation:g} / {protocol.split.test:g} "
        "(training, validation, test).",
        f"Abnormal slices have a lesion of at least {rules.min_lesion_px} pixels; normal ones none, and none within "
        f"{rules.normal_margin} slices.",
        f"Training hides sequences: {cell.result.method.training_mask}; a hidden sequence in scoring is: "
        f"{cell.result.method.missing}.",
        f"Intensity: {_intensity(protocol.intensity)}. {_selection(cell)}",
    ]  # fmt: skip
    return _bullets(lines)


def _intensity(rules: IntensityRules) -> str:
    if rules.harmonise != PERCENTILE:
        return f"{rules.mode}, {rules.harmonise}"
    return f"{rules.mode}, percentile {rules.percentile:g}"


def _training(cell: TrainedCell) -> str:
    curves = cell.result.training
    steps = max((curve.steps[-1] for curve in curves if curve.steps), default=0)
    lines = [f"Losses over {steps} steps, from the lowest (▁) to the highest (█) value; all rows: `training*.csv`."]
    lines += [_text(line) for line in described(curves)[:MOST_LOSSES]]
    return _bullets(lines)


def _selection(cell: TrainedCell) -> str:
    if cell.protocol.oracle:
        return "**The checkpoint is selected on test data (oracle).**"
    tested = {
        "last": "The state after the last step is tested",
        "validation": "The state that scores validation normals lowest is tested",
    }[cell.protocol.selection]
    if cell.result.weights.kind == "checkpoint":
        tested = "The authors' published network is tested, and nothing was trained"
    return f"{tested}; nothing is selected on test data."


def _metrics(cell: TrainedCell) -> str:
    head = [
        "test set",
        "shown",
        "subjects",
        "slices",
        *(label for _, label in COLUMNS),
        "Dice at the validation threshold",
    ]
    rows = []
    for row in cell.rows:
        values = [_number(row, name) for name, _ in COLUMNS]
        dice = None if row.threshold is None else row.threshold.dice
        rows.append([_text(row.test), row.subset, str(row.n_subjects), str(row.n_slices), *values, _shown(dice, None)])
    note = (
        "In brackets: 95 % intervals over test subjects. The threshold is the 99th percentile of the scores of "
        f"validation normals' brain pixels. Metric version {cell.result.metric_version}."
    )
    few = sorted({row.reasons["intervals"] for row in cell.rows if "intervals" in row.reasons})
    return "\n".join([_table(head, rows), "", note, *few])


def _inside(cell: TrainedCell) -> list[str]:
    """Return the table of the metrics inside the brain; none of a cell that was run before they were counted."""
    found = [row for row in cell.rows if any(row.metrics.get(name) is not None for name in BRAIN)]
    if not found:
        return []
    head = ["test set", "shown", "AUROC", "AP", "F1", "AUPRO, FPR ≤ .05", "AUPRO, FPR ≤ .3"]
    rows = [[_text(row.test), row.subset, *(_number(row, name) for name in BRAIN)] for row in found]
    return ["## Inside the brain", _table(head, rows)]


def _by_area(cell: TrainedCell) -> list[str]:
    """Return the table of image metrics by the area of the lesion in a slice."""
    head = ["test set", "shown", "lesion area (pixels)", "slices", "AUROC", "AP", "F1"]
    rows = []
    for row in cell.rows:
        for size in (one for one in row.sizes if one.n):
            area = f"{size.low} and more" if size.high is None else f"{size.low} to {size.high - 1}"
            values = (_shown(value, None) for value in (size.image_auroc, size.image_ap, size.image_f1))
            rows.append([_text(row.test), row.subset, area, str(size.n), *values])
    note = "Image metrics of the abnormal slices of each area against all normal slices."
    return ["## By lesion area", _table(head, rows), note] if rows else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _whole_scans(cell: TrainedCell) -> list[str]:
    """Return the section on whole scans; none if the protocol does not score them."""
    found = [(row, row.scans) for row in cell.rows if row.scans is not None]
    if not found:
        return []
    head = ["test set", "shown", "scans", "lesions", *(label for _, label in SCAN_COLUMNS), "flagged less true (ml)"]
    rows = []
    for row, scans in found:
        values = [_shown(scans.metrics.get(name), scans.intervals.get(name)) for name, _ in SCAN_COLUMNS]
        bias, low, high = (scans.metrics.get(f"volume_{name}_ml") for name in ("bias", "low", "high"))
        volume = "–" if bias is None else f"{bias:.1f}"
        if low is not None and high is not None:
            volume += f" (limits of agreement {low:.1f} to {high:.1f})"
        rows.append([_text(row.test), row.subset, str(scans.n_scans), str(scans.n_lesions), *values, volume])
    rules = dict.fromkeys(scans.rule for _, scans in found)
    return ["## Whole scans", _table(head, rows), *rules]


def _alarms(cell: TrainedCell) -> list[str]:
    """Return the section on healthy subjects; none without any."""
    lines = []
    for row in cell.rows:
        for one in row.alarms:
            promise = f"{_text(row.test)}, {row.subset}: at most {100 * one.promise:g} % of healthy subjects alarm"
            if one.rate is None or one.low is None or one.high is None:
                lines.append(f"{promise}: no promise. {one.reason}")
                continue
            verdict = "the promise is broken" if one.broken else "nothing speaks against it"
            lines.append(
                f"{promise}: {one.alarms} of {one.n_healthy} did, {one.rate:.3f} [{one.low:.3f}, {one.high:.3f}]; "
                f"{verdict}. Of {one.n_patients} patients {one.detected or 0} alarm."
            )
    return ["## Alarms of healthy subjects", _bullets(lines)] if lines else []


def _number(row: Row, name: str) -> str:
    return _shown(row.metrics.get(name), row.intervals.get(name))


def _shown(value: float | None, ends: tuple[float | None, float | None] | None) -> str:
    if value is None:
        return "–"
    low, high = ends or (None, None)
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _limits(cell: TrainedCell) -> list[str]:
    result = cell.result
    lines = [
        f"A high score means unlike the {cell.protocol.trains_on} in training; it is not a diagnosis, and no score "
        "rules out a disease. Artefacts, surgery, other scanners and other age groups can score high too.",
        "Scans must be skull-stripped, 0 outside the brain, and registered to each other. Each slice is scored on "
        "its own; there is no 3D context.",
        f"Slices with brain on less than {100 * cell.protocol.slices.min_brain:g} % of the training field do not "
        "count: mask, volume and patient score say nothing about them.",
        "Numbers hold for the test sets above; on other data they are unknown.",
    ]
    subjects = min((row.n_subjects for row in cell.rows), default=0)
    if subjects < 20:
        lines.append(f"Some rows rest on {subjects} test subject{'' if subjects == 1 else 's'}.")
    if result.trained_on is not None:
        counts = ", ".join(f"{SHORT[name]} {count}" for name, count in result.trained_on.sequences.items())
        lines.append(f"Training slices by sequence: {counts}.")
        never = [SHORT[name] for name in result.trained_on.never]
        if never:
            lines.append(f"Never trained on {' and '.join(never)}: scores of scans with it mean nothing.")
    below = [row.subset for row in cell.rows if (row.metrics.get("pixel_auroc") or 1) < 0.5]
    if below:
        lines.append(f"Below chance (pixel AUROC under .5) for: {', '.join(below)}.")
    lacking = [label for label in result.protocol.subsets if cell.threshold(parse_subset(label)) is None]
    if lacking and cell.normals is not None:
        lines.append(f"No threshold, hence no mask, for: {', '.join(lacking)}.")
    if result.method.budget != "paper":
        lines.append(f"Trained with the budget {result.method.budget}, not with the authors' settings.")
    if result.weights.marked:
        lines.append("The pretrained network was replaced by random numbers: the scores are meaningless.")
    return lines + [f"Departs from its publication: {_text(text)}" for text in result.method.departures]


def _use(cell: TrainedCell) -> str:
    options = " ".join(f"[--{name} FILE]" for name in cell.protocol.sequences)
    return f"`anyadbench predict --cell {_text(cell.folder.name)} {options} --out DIR` (at least one sequence)."


def _provenance(cell: TrainedCell) -> str:
    result, machine = cell.result, cell.manifest.get("environment", {})
    weights = result.weights
    lines = [
        f"Cell `{result.cell_id}`, fit `{result.fit_id}`, code `{result.method.code_hash[:16]}`.",
        f"Weights: {_text(weights.name)} ({weights.kind}), licence {_text(weights.licence) or 'none'}"
        + (f", SHA-256 `{weights.sha256}`" if weights.sha256 else "")
        + f". {_text(weights.provenance)}",
        f"Parameters: {_pairs(result.method.params)}.",
        f"Numeric policy: {_pairs(result.numerics.model_dump())}.",
        f"Made with anyadbench {machine.get('anyadbench', '?')}, Python {machine.get('python', '?')} on "
        f"{_text(str(machine.get('device', '?')))}; {_pairs(machine.get('libraries', {}))}.",
    ]
    return _bullets(lines)


def _names(sequences: Iterable[str]) -> str:
    return ", ".join("FLAIR" if name == "flair" else SHORT[name] for name in sequences)


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{_text(str(key))}={_text(str(value))}" for key, value in values.items()) or "none"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _text(text: str) -> str:
    """Return text from a file, escaped so that it cannot become markup."""
    escaped = "".join("\\" + c if c in "\\`*[]<>|#" else c for c in text if c.isprintable())
    return escaped.strip()
