"""The report as a file: well-formed, self-contained, safe with any name, and with the numbers of the prediction."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from viewer_fixture import HOSTILE, a_prediction

from anyadbench.predict.prediction import Prediction
from anyadbench.predict.viewer.page import report_html

VOID = {"meta", "link", "input", "img"}


class Tree(HTMLParser):
    """Checks that tags close in order; collects elements and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"<{tag}> has an attribute twice"
        self.found.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return report_html(a_prediction(), HOSTILE)


@pytest.fixture(scope="module")
def tree(page: str) -> Tree:
    return Tree(page)


def data_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.split('id="data">')[1].split("</script>")[0])
    return found


def test_tags_close_in_order_and_identifiers_are_unique(tree: Tree) -> None:
    names = [values["id"] for _, values in tree.found if "id" in values]
    assert len(names) == len(set(names)) and {"viewer", "plot", "data", "scan-flair", "map-0", "marks-0"} <= set(names)


def test_text_from_outside_is_escaped(page: str) -> None:
    assert HOSTILE not in page and "<b onload" not in page and "alert(1)</script>" not in page
    assert f"<h1>{html.escape(HOSTILE, quote=False).split('onload')[0][:20]}" in page
    assert page.count("<script") == 2 + 4 and "&lt;validation&gt;" in page


def test_nothing_is_loaded_and_only_the_pages_own_script_and_style_are_allowed(page: str, tree: Tree) -> None:
    for tag, values in tree.found:
        for name in {"src", "href", "action", "data"} & set(values):
            assert values[name].startswith(("data:image/png;base64,", "#")), (tag, values)
        assert not [name for name in values if name.startswith("on") or name == "style"]
    policy = next(values["content"] for tag, values in tree.found if values.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    for kind in ("script", "style"):
        own = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert len(own) == 1
        digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|fetch\(|XMLHttpRequest|import\(", page)


def test_numbers_are_those_of_the_json() -> None:
    prediction = a_prediction()
    scores = json.loads(json.dumps(prediction.as_json()))
    text = html.unescape(report_html(prediction, "anna"))
    score = f"<b>{scores['patient_score']:.4g}</b>"
    assert f"{score}<span>Higher than 97 % of 48 normal slices (normals <of> the cell)." in text
    assert (
        f"<b>{scores['volume_above_threshold_ml']:.2f} ml</b><span>Normal slices of this brain volume have 0.050 to"
        in text
    )
    assert f"<dt>Clusters</dt><dd><b>{len(scores['clusters'])}</b>" in text
    assert f"<b>{scores['seconds']:.1f} s</b>" in text
    rows = re.findall(r'<tr data-cluster="(\d+)">(.*?)</tr>', text)
    assert [int(number) for number, _ in rows] == [item["number"] for item in scores["clusters"]]
    for (_, row), item in zip(rows, scores["clusters"], strict=True):
        for value in (f"{item['volume_ml']:.2f}", f"{item['peak']:.4g}", ", ".join(map(str, item["peak_index"]))):
            assert f">{value}</td>" in row
    table = text.split("Table of slice scores")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + len(scores["slices"])
    for item in scores["slices"]:
        assert f'<td class="number">{item["slice"]}</td><td class="number">{item["file_index"]}</td>' in table
    assert data_of(report_html(prediction, "anna"))["slices"] == [
        {"z": item["slice"] - data_of(report_html(prediction, "anna"))["start"][2], "slice": item["slice"],
         "score": item["score"]}
        for item in scores["slices"]
    ]  # fmt: skip


def test_a_volume_is_never_shown_without_its_reference_range() -> None:
    prediction = a_prediction()
    bare = replace(prediction, reference=None, percentiles=None)
    text = report_html(bare, "anna")
    assert prediction.volume_ml is not None and f"{prediction.volume_ml:.2f} ml" not in text
    assert "<dt>Volume above the threshold</dt><dd><b>not shown</b>" in text
    assert "No percentile: the cell has too few normals" in text


def test_an_alarm_is_shown_with_its_promise() -> None:
    alarm = {"alarm": True, "threshold": 0.25, "rate": 0.05, "subjects": 20}
    text = report_html(a_prediction(alarm=alarm), "anna")
    promise = "threshold 0.25, which at most 5 % of normals exceed"
    assert f"<dt>Alarm</dt><dd><b>yes</b><span>{promise}</span>" in text


def test_steps_of_preparation_are_shown_with_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Preparation of the scans" not in report_html(a_prediction(), "anna")
    step = SimpleNamespace(
        name="register", sequence="t1", text="Registered <b>.", seconds=1.25, figures={"information": 0.4321},
        warning="Look at it.",
    )  # fmt: skip
    move = np.eye(4)
    move[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    move[2, 3] = 12.0
    monkeypatch.setattr(Prediction, "prepared", property(lambda _: (step,)), raising=False)
    monkeypatch.setattr(Prediction, "transforms", property(lambda _: {"flair": np.eye(4), "t1": move}), raising=False)
    prediction = a_prediction()
    text = report_html(prediction, "anna")
    assert "Registered &lt;b&gt;. <strong>Look at it.</strong>" in text and "<td>information 0.4321</td>" in text
    centre = prediction.affine @ [*np.argwhere(prediction.brain).mean(axis=0), 1.0]
    shift = np.linalg.norm((move @ centre - centre)[:3])
    assert f"Moved onto the first scan: T1 by {shift:.1f} mm (centre of the brain) and 90.0°." in text
    Tree(text)


def test_a_map_of_each_subset_can_be_chosen_with_its_own_clusters() -> None:
    one, other = a_prediction(), replace(a_prediction(threshold=0.9), shown=("flair",))
    page = report_html(one, "anna", [other])
    Tree(page)
    data = data_of(page)
    assert [item["label"] for item in data["maps"]] == ["F+T1", "F"]
    assert [len(item["clusters"]) for item in data["maps"]] == [2, 1]
    assert '<option value="maps">' in page and '<div data-clusters-of="1" hidden>' in page
    assert page.count('id="map-1"') == page.count('id="marks-1"') == 1
    assert '<option value="maps">' not in report_html(one, "anna")


def test_without_a_script_it_has_the_numbers_the_table_and_the_pictures(page: str, tree: Tree) -> None:
    before = page.split('id="viewer"')[0]
    assert "Patient score" in before and "Research use; not a medical device." in before and "A note: x" in before
    assert '<section id="viewer" aria-labelledby="viewer-title" hidden>' in page
    pictures = [values for tag, values in tree.found if tag == "img"]
    assert len(pictures) >= 3 * 3 and all(values["alt"] for values in pictures)
    assert "Slices with the highest scores" in page and "<noscript>" in page


def test_a_prediction_without_threshold_or_clusters_has_a_page() -> None:
    bare = report_html(a_prediction(threshold=None), "anna")
    assert "<b>no mask</b>" in bare and "Clusters above the threshold" not in bare
    none = report_html(a_prediction(threshold=5.0), "anna")
    assert "No cluster lies above the threshold." in none
    empty = a_prediction(threshold=None)
    withheld = replace(empty, threshold=0.5, notes=("No mask: the whole scan differs.",))
    both = report_html(withheld, "anna", [a_prediction(shown=("flair",))])
    assert "<p>No mask: the whole scan differs.</p>" in both and both.count("<tr data-cluster=") == 2
    Tree(bare), Tree(none), Tree(both)


def test_every_control_has_a_name(page: str, tree: Tree) -> None:
    labelled = re.findall(r"<label[^>]*>(.*?)</label>", page, re.DOTALL)
    for tag, values in tree.found:
        if tag in ("select", "input"):
            assert [text for text in labelled if f'id="{values["id"]}"' in text], values
        if tag == "section":
            assert values.get("aria-label") or f'id="{values["aria-labelledby"]}"' in page
    assert [values["lang"] for tag, values in tree.found if tag == "html"] == ["en"]


def test_the_same_prediction_gives_the_same_page(page: str) -> None:
    assert report_html(a_prediction(), HOSTILE) == page


def test_the_start_is_the_peak_of_the_first_cluster(page: str) -> None:
    data, first = data_of(page), a_prediction().clusters[0]
    there = np.array(data["toFile"]) @ [*data["maps"][0]["start"], 1]
    np.testing.assert_allclose(there, first.peak_index, atol=1e-6)
    np.testing.assert_allclose(np.array(data["affine"]) @ [*data["maps"][0]["start"], 1], first.peak_mm, atol=1e-3)


def test_the_report_is_written_with_the_other_files(tmp_path: Path) -> None:
    a_prediction().save(tmp_path / "anna", HOSTILE)
    page = (tmp_path / "anna" / "report.html").read_text(encoding="utf-8")
    assert page == report_html(a_prediction(), HOSTILE)
