"""A batch of patients: ``index.html``, one line per patient, and ``predictions.csv`` with the same columns."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anyadbench.errors import UserError
from anyadbench.files import write_text
from anyadbench.predict.findings.sentences import ml, table_line
from anyadbench.predict.prediction import USE
from anyadbench.predict.viewer.assets import asset, environment, hash_of
from anyadbench.predict.write import OPTION, REPORT

INDEX, TABLE = "index.html", "predictions.csv"

MARK = '<meta name="generator" content="anyadbench predict">'
"""What distinguishes this program's list of patients from any other ``index.html``."""

HEAD = 65536
"""Bytes of a report that hold its small picture."""


@dataclass(frozen=True)
class Outcome:
    """What became of one patient.

    Attributes:
        patient: Its name, which is the name of its folder.
        scores: Content of its ``prediction.json``; empty if it failed.
        failure: Why it failed, in a sentence; empty otherwise.
        seconds: Wall time until it failed; ``None`` if unknown.
        subject: Whose scan it is, where ``scan`` is given.
        scan: Which of the subject's scans it is; empty where nobody has several.
    """

    patient: str
    scores: Mapping[str, Any]
    failure: str = ""
    seconds: float | None = None
    subject: str = ""
    scan: str = ""

    def row(self) -> dict[str, Any]:
        """Return the patient's line of ``predictions.csv``; ``None`` is unknown."""
        who = {"patient": self.subject, "scan": self.scan} if self.scan else {"patient": self.patient}
        if self.failure:
            return {**who, "seconds": self.seconds, "failure": self.failure}
        own = {"warnings": len(self.scores["notes"]), "seconds": self.scores["seconds"], "failure": None}
        return {**who, **table_line(self.scores), **who, **own}


def check_index(out: Path) -> None:
    """Check, before any work, that only an earlier list of patients would be replaced.

    Raises:
        UserError: If ``out`` has an ``index.html`` that this program did not write, or a table without such a page.
    """
    page = out / INDEX
    foreign = page if page.is_file() else out / TABLE  # the page is written first
    if foreign.is_file() and MARK not in _head(page):
        raise UserError(
            f"{foreign} was not written by 'anyadbench predict' and would be replaced; give another {OPTION} folder, "
            "or move the file."
        )


def write_cohort(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page and the table of a batch.

    Args:
        out: Folder with one folder per patient.
        outcomes: Of every patient of the batch, those predicted before included.

    Raises:
        UserError: If the folder cannot be written.
    """
    write_text(out / INDEX, cohort_html(out, outcomes), OPTION)  # first: it says whose the table is
    write_text(out / TABLE, _table(outcomes), OPTION)


def cohort_html(out: Path, outcomes: Sequence[Outcome]) -> str:
    """Return the page; all external text is escaped, and only the page's own script may run."""
    rows = [_line(out, outcome) for outcome in outcomes]
    done = [outcome for outcome in outcomes if not outcome.failure]
    cells = sorted({f"{item.scores['cell']['method']}, {item.scores['cell']['folder']}" for item in done})
    script, style = asset("cohort.js"), asset("page.css")
    return environment().get_template("cohort.html.j2").render(
        mark=MARK, use=USE, title=out.resolve().name, rows=rows, n=len(rows), failed=len(rows) - len(done), cells=cells,
        several=any(outcome.scan for outcome in outcomes),
        script=script, style=style, script_hash=hash_of(script), style_hash=hash_of(style),
    )  # fmt: skip


def _line(out: Path, outcome: Outcome) -> dict[str, Any]:
    row = outcome.row()
    names = ("subset", "patient_percentile", "patient_score", "clusters", "largest_cluster_ml", "seconds")
    low, high = row.get("normal_volume_low_ml"), row.get("normal_volume_high_ml")
    return {
        **{name: row.get(name) for name in names},
        "patient": row["patient"],
        "scan": row.get("scan"),
        "name": outcome.patient,
        "failure": outcome.failure,
        "volume": row.get("volume_above_threshold_ml"),
        "normal": "" if low is None or high is None else f"normal {ml(low)} to {ml(high)}",
        "alarm": row.get("alarm"),
        "counted": row.get("slices_counted"),
        "brain": row.get("slices_with_brain"),
        "notes": [] if outcome.failure else list(outcome.scores["notes"]),
        "link": "" if outcome.failure else f"./{quote(os.fsencode(outcome.patient), safe='')}/{REPORT}",
        "picture": "" if outcome.failure else _picture(out / outcome.patient / REPORT),
    }


def _picture(report: Path) -> str:
    """Return the small picture of a report, which is the icon of its page."""
    found = re.search(r'<link rel="icon" href="(data:image/png;base64,[A-Za-z0-9+/=]+)">', _head(report))
    return found[1] if found else ""


def _head(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return handle.read(HEAD).decode("utf-8", "replace")
    except OSError:
        return ""


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = [outcome.row() for outcome in outcomes]
    names = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_cell(row.get(name)) for name in names] for row in rows])
    return text.getvalue()


def _cell(value: Any) -> Any:
    from anyadbench.tables import guarded

    return "" if value is None else guarded(value) if isinstance(value, str) else value
