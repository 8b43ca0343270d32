"""The list of a batch's patients, as a page and as a table."""

from __future__ import annotations

import csv
import html
import json
import os
import re
from pathlib import Path

import pytest
from viewer_fixture import HOSTILE, a_prediction

from anyadbench.errors import UserError
from anyadbench.predict.viewer.cohort import INDEX, TABLE, Outcome, check_index, cohort_html, write_cohort

NAMES = ("anna", 'b"<i>&#?%2F', "=cmd()")


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Outcome]]:
    out = tmp_path_factory.mktemp("cohort")
    outcomes = []
    for name, threshold in zip(NAMES, (0.5, 0.7, None), strict=True):
        a_prediction(threshold=threshold).save(out / name, name)
        outcomes.append(Outcome(name, json.loads((out / name / "prediction.json").read_text())))
    outcomes.insert(1, Outcome("zoe", {}, f"zoe's scan {HOSTILE} is not a NIfTI image; give another."))
    write_cohort(out, outcomes)
    return out, outcomes


def test_each_patient_has_a_line_and_failed_ones_their_sentence(batch: tuple[Path, list[Outcome]]) -> None:
    out, outcomes = batch
    page = (out / INDEX).read_text(encoding="utf-8")
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    lines = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    assert [html.unescape(re.findall(r'<th scope="row" data-value="([^"]*)"', line)[0]) for line in lines] == [
        outcome.patient for outcome in outcomes
    ]
    assert 'class="failed"' in lines[1] and "Failed: zoe&#39;s scan x&lt;/script&gt;" in lines[1]
    assert "4 patients, of which 1 could not be predicted." in page
    assert [line.count("<img") for line in lines] == [1, 0, 1, 1]
    assert HOSTILE not in page and '"<i>' not in page


def test_links_lead_to_the_reports(batch: tuple[Path, list[Outcome]]) -> None:
    from urllib.parse import unquote

    out, _ = batch
    links = re.findall(r'<a href="([^"]*)"', (out / INDEX).read_text(encoding="utf-8"))
    assert len(links) == 3
    for link in links:
        assert link.startswith("./") and (out / unquote(html.unescape(link))).is_file()


def test_the_table_has_the_same_columns_and_numbers(batch: tuple[Path, list[Outcome]]) -> None:
    out, outcomes = batch
    rows = list(csv.DictReader((out / TABLE).open(encoding="utf-8")))
    assert list(rows[0]) == [
        "patient", "subset", "patient_score", "patient_percentile", "threshold", "volume_above_threshold_ml",
        "normal_volume_low_ml", "normal_volume_high_ml", "clusters", "largest_cluster_ml", "slices_with_brain",
        "slices_counted", "alarm", "warnings", "seconds", "failure",
    ]  # fmt: skip
    assert [row["patient"] for row in rows] == ["anna", "zoe", NAMES[1], "'=cmd()"]
    assert rows[1]["failure"].startswith("zoe's scan") and rows[1]["patient_score"] == rows[1]["seconds"] == ""
    scores = outcomes[0].scores
    assert float(rows[0]["patient_score"]) == scores["patient_score"]
    assert (rows[0]["patient_percentile"], rows[0]["normal_volume_high_ml"]) == ("97.5", "1.25")
    assert float(rows[0]["volume_above_threshold_ml"]) == scores["volume_above_threshold_ml"]
    assert int(rows[0]["clusters"]) == len(scores["clusters"]) == 2
    assert float(rows[0]["largest_cluster_ml"]) == max(item["volume_ml"] for item in scores["clusters"])
    assert (rows[3]["threshold"], rows[3]["clusters"], rows[3]["warnings"]) == ("", "", "1")
    page = (out / INDEX).read_text(encoding="utf-8")
    assert f'data-value="{scores["patient_score"]}"' in page and "<small>normal 0.050 to 1.25</small>" in page


def test_only_a_list_of_this_program_is_replaced(batch: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    check_index(batch[0])
    check_index(tmp_path)
    (tmp_path / INDEX).write_text("my own page")
    with pytest.raises(
        UserError, match=r"index.html was not written by 'anyadbench predict' and would be replaced; give"
    ):
        check_index(tmp_path)
    (tmp_path / INDEX).unlink()
    (tmp_path / TABLE).write_text("patient,mine\n")
    with pytest.raises(UserError, match=r"predictions.csv was not written by 'anyadbench predict' and would be"):
        check_index(tmp_path)


def test_patients_with_several_scans_have_a_column_for_them(batch: tuple[Path, list[Outcome]], tmp_path: Path) -> None:
    scores = batch[1][0].scores
    outcomes = [
        Outcome("zoe_2019", {}, "No.", 2.5, "zoe", "2019"),
        Outcome("zoe_2021", {**scores, "patient": "zoe_2021"}, subject="zoe", scan="2021"),
    ]
    write_cohort(tmp_path, outcomes)
    rows = list(csv.DictReader((tmp_path / TABLE).open(encoding="utf-8")))
    assert [(row["patient"], row["scan"]) for row in rows] == [("zoe", "2019"), ("zoe", "2021")]
    assert list(rows[0])[:3] == ["patient", "scan", "subset"]
    assert [float(row["seconds"]) for row in rows] == [2.5, scores["seconds"]], "a failed patient took time too"
    page = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert '<button type="button">Scan</button>' in page and 'href="./zoe_2021/report.html">zoe</a>' in page
    assert '<td data-value="2019">2019</td>' in page and 'data-value="2.5">2.5</td>' in page
    assert '<button type="button">Scan</button>' not in cohort_html(*batch)


def test_a_batch_of_failures_is_a_page_too(tmp_path: Path) -> None:
    write_cohort(tmp_path, [Outcome("zoe", {}, "No.")])
    assert "1 patient, of which 1 could not be predicted." in (tmp_path / INDEX).read_text(encoding="utf-8")


def test_a_name_that_is_not_utf8_has_a_line_and_a_link(tmp_path: Path, batch: tuple[Path, list[Outcome]]) -> None:
    name = os.fsdecode(b"ben\xff")
    write_cohort(tmp_path, [Outcome(name, {**batch[1][0].scores, "patient": name})])
    page = (tmp_path / INDEX).read_text(encoding="utf-8")
    assert 'href="./ben%FF/report.html"' in page and "ben\\udcff" in page
    assert "ben\\udcff" in (tmp_path / TABLE).read_text(encoding="utf-8")


def test_nothing_is_loaded(batch: tuple[Path, list[Outcome]]) -> None:
    page = cohort_html(*batch)
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|\./)|https?://', page)
    assert "unsafe" not in page and "default-src 'none'" in page
