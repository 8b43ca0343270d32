"""The report and the list of patients in a real browser, with real keys, clicks and wheels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM
from devtools import Tab, chromium
from viewer_fixture import HOSTILE, a_prediction

from anyadbench.predict.viewer.cohort import Outcome, write_cohort
from anyadbench.predict.viewer.page import report_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]

AXIAL, CORONAL, SAGITTAL = (f"#panels figure:nth-child({n}) canvas" for n in (1, 2, 3))


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(a_prediction(), HOSTILE), encoding="utf-8")
    return path


@pytest.fixture
def report(tab: Tab, page: Path) -> Tab:
    tab.open(page.as_uri())
    return tab


def at(tab: Tab) -> list[int]:
    """Return the drawn voxel at the crosshair."""
    return [int(part) for part in tab.value(f"document.querySelector({json.dumps(AXIAL)}).dataset.at").split(",")]


def voxel(tab: Tab) -> str:
    """Return the voxel of the file that the page names."""
    return str(tab.value("document.querySelectorAll('#readout dd')[1].textContent"))


def focus(tab: Tab, selector: str) -> None:
    tab.value(f"document.querySelector({json.dumps(selector)}).focus()")


def test_it_opens_without_errors_or_requests(report: Tab, page: Path) -> None:
    assert report.messages == []
    assert [url for url in report.requests if not url.startswith("data:")] == [page.as_uri()]
    assert report.value("document.querySelectorAll('#panels canvas').length") == 3
    for canvas in (AXIAL, CORONAL, SAGITTAL):
        assert report.pixels(canvas).std() > 10


def test_a_foreign_script_does_not_run(tab: Tab, page: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.html"
    text = page.read_text(encoding="utf-8")
    changed.write_text(text.replace("</main>", "</main><script>document.title = 'run'</script>"), encoding="utf-8")
    tab.open(changed.as_uri())
    assert tab.value("document.title") != "run"
    assert any("Content Security Policy" in message for message in tab.messages)


def test_it_opens_at_the_peak_and_jumps_to_each_cluster(report: Tab) -> None:
    clusters = a_prediction().clusters
    assert voxel(report) == ", ".join(map(str, clusters[0].peak_index))
    for cluster in reversed(clusters):
        report.click(f"button[data-jump='{cluster.number}']")
        assert voxel(report) == ", ".join(map(str, cluster.peak_index))
        assert report.value("document.querySelector('tr[aria-current]').dataset.cluster") == str(cluster.number)
        assert f"in cluster {cluster.number}" in report.value("document.querySelector('#readout').textContent")


def test_the_brightest_map_pixel_is_at_the_crosshair(report: Tab) -> None:
    report.choose("#scan", "t1")
    report.choose("#mask-opacity", "0")
    report.value("document.querySelector('#cross').click()")
    report.choose("#map-opacity", "100")
    report.choose("#width", "512")
    report.choose("#level", "255")  # the scan is dark grey, so that the top of the colour scale is the brightest
    pixels = report.pixels(AXIAL).sum(axis=2)
    y, x = np.unravel_index(pixels[20:-30, 20:-20].argmax(), pixels[20:-30, 20:-20].shape)
    report.click(AXIAL, (x + 20.5) / pixels.shape[1], (y + 20.5) / pixels.shape[0])
    peak = a_prediction().clusters[0].peak_index
    found = [int(part) for part in voxel(report).split(",")]
    assert max(abs(a - b) for a, b in zip(found, peak, strict=True)) <= 2


def test_wheel_slider_and_keys_change_the_slice(report: Tab) -> None:
    before, picture = at(report), report.pixels(AXIAL)
    report.wheel(AXIAL, -100)
    assert at(report) == [before[0], before[1], before[2] + 1]
    assert np.abs(report.pixels(AXIAL) - picture).max() > 50
    report.choose("#panels figure:nth-child(1) input", "3")
    assert at(report)[2] == 3
    focus(report, AXIAL)
    for key, expected in (
        ("PageUp", [0, 0, 1]), ("PageDown", [0, 0, 0]), ("ArrowRight", [1, 0, 0]), ("ArrowDown", [1, 1, 0]),
        ("ArrowLeft", [0, 1, 0]), ("ArrowUp", [0, 0, 0]),
    ):  # fmt: skip
        report.press(key)
        assert at(report) == [before[0] + expected[0], before[1] + expected[1], 3 + expected[2]], key
    report.press("End")
    last = at(report)[2]
    report.press("PageUp")
    assert at(report)[2] == last > 3
    focus(report, CORONAL)
    report.press("ArrowUp")  # up is superior
    assert at(report)[2] == last
    report.press("ArrowDown")
    assert at(report)[2] == last - 1


def test_letters_of_the_viewer_jump_and_hide(report: Tab) -> None:
    peaks = [", ".join(map(str, cluster.peak_index)) for cluster in a_prediction().clusters]
    focus(report, AXIAL)
    report.press("n")
    assert voxel(report) == peaks[0]
    report.press("n")
    assert voxel(report) == peaks[1]
    report.press("p")
    assert voxel(report) == peaks[0]
    report.press("m")
    assert report.value("document.querySelector('#map-opacity').value") == "0"
    report.press("r")
    assert report.value("document.querySelector('#map-opacity').value") == "70"


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("level", "200"),
        ("width", "60"),
        ("map-opacity", "0"),
        ("mask-opacity", "0"),
        ("map-low", "120"),
        ("map-high", "60"),
    ],
)
def test_sliders_change_the_picture_and_reset_restores_it(report: Tab, control: str, value: str) -> None:
    before = report.pixels(AXIAL)
    words = report.value(f"document.querySelector('#{control}').getAttribute('aria-valuetext')")
    report.choose(f"#{control}", value)
    assert (np.abs(report.pixels(AXIAL) - before).max(axis=2) > 20).sum() > 20
    assert report.value(f"document.querySelector('#{control}').getAttribute('aria-valuetext')") != words
    report.click("#reset")
    np.testing.assert_array_equal(report.pixels(AXIAL), before)


def test_without_map_and_mask_a_picture_is_grey(report: Tab) -> None:
    report.value("document.querySelector('#cross').click()")
    assert np.ptp(report.pixels(AXIAL), axis=2).max() > 100
    report.choose("#map-opacity", "0")
    report.choose("#mask-opacity", "0")
    assert np.ptp(report.pixels(AXIAL), axis=2).max() <= 2


def test_conventions_mirror_the_picture_and_the_arrow_keys(report: Tab) -> None:
    def side() -> str:
        return str(report.value(f"document.querySelector({json.dumps(AXIAL)}).dataset.left"))

    report.value("document.querySelector('#cross').click()")
    one = report.pixels(AXIAL)
    assert side() == "R"
    report.choose("#side", "neurological")
    assert side() == "L"
    other = report.pixels(AXIAL)[:, ::-1]
    middle = np.s_[30:-40, 30:-30]
    assert np.abs(one[middle] - other[middle]).mean() < 2 < np.abs(one[middle] - other[:, ::-1][middle]).mean()
    label = report.value(f"document.querySelector({json.dumps(AXIAL)}).getAttribute('aria-label')")
    assert "Left of the picture: the patient's left; top: anterior." in label
    before = at(report)
    focus(report, AXIAL)
    report.press("ArrowRight")
    assert at(report)[0] == before[0] - 1
    report.choose("#side", "radiological")


def test_voxels_are_drawn_in_true_proportions(report: Tab) -> None:
    report.choose("#map-opacity", "0")
    report.choose("#mask-opacity", "0")
    report.value("document.querySelector('#cross').click()")
    lit = report.pixels(CORONAL)[22:-32, 22:-22].max(axis=2) > 30
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    # The ellipsoid has the same share of 60 voxels of 2 mm and 24 voxels of 5 mm: a circle.
    assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(1, abs=0.12)
    bar = report.value(f"document.querySelector({json.dumps(AXIAL)}).dataset.bar")
    assert bar == "50"


def test_sequences_are_shown_side_by_side(report: Tab) -> None:
    report.choose("#view", "scans")
    titles = report.value("Array.from(document.querySelectorAll('#panels figcaption')).map((c) => c.textContent)")
    assert [title.split(",")[0] for title in titles] == ["F", "T1"]
    report.choose("#plane", "sagittal")
    titles = report.value("Array.from(document.querySelectorAll('#panels figcaption')).map((c) => c.textContent)")
    assert [title.split(",")[1] for title in titles] == [" sagittal", " sagittal"]
    one, other = report.pixels(AXIAL), report.pixels(CORONAL)
    assert np.abs(one - other).max() > 50
    report.wheel(AXIAL, -100)
    assert not np.array_equal(report.pixels(CORONAL), other)


def test_a_click_in_the_plot_shows_that_slice(report: Tab) -> None:
    report.click("#plot rect[data-z='6']")
    assert at(report)[2] == 6
    assert report.value("document.querySelector('#plot-marker').getAttribute('visibility')") == "visible"


def test_the_address_keeps_the_view(tab: Tab, page: Path) -> None:
    peak = a_prediction().clusters[1].peak_index
    tab.open(page.as_uri() + "#view=scans&plane=coronal&cluster=2&theme=dark")
    assert "coronal" in tab.value("document.querySelector('#panels figcaption').textContent")
    assert voxel(tab) == ", ".join(map(str, peak))
    tab.open(page.as_uri() + "#voxel=30,36,12&view=%3Cb%3E&cluster=x")
    assert voxel(tab) == "30, 36, 12"
    assert tab.messages == []


@pytest.mark.parametrize("way", ["system", "choice"])
def test_dark_and_light(tab: Tab, page: Path, way: str) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        given = scheme if way == "system" else "light"
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": given}])
        tab.open(page.as_uri() + ("" if way == "system" else f"#theme={scheme}"))
        shades[scheme] = np.median(tab.screenshot())
    tab.call("Emulation.setEmulatedMedia", features=[])
    assert shades["dark"] < 60 < 200 < shades["light"]


CONTRAST = """(() => {
  const TEXTS = "h1, h2, h3, p, dt, dd, th, td, label, li, summary, button, select, figcaption, span, a";
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const clear = (colour) => colour.length === 4 && colour[3] === 0;
  const behind = (item) => {
    const colour = parse(getComputedStyle(item).backgroundColor);
    return clear(colour) && item.parentElement ? behind(item.parentElement) : colour;
  };
  const ratio = (item) => {
    const both = [light(parse(getComputedStyle(item).color)), light(behind(item))].sort((x, y) => y - x);
    return (both[0] + 0.05) / (both[1] + 0.05);
  };
  return Array.from(document.querySelectorAll(TEXTS))
    .filter((item) => item.innerText && item.innerText.trim() && item.getClientRects().length)
    .filter((item) => item.className !== "skip" && item.id !== "live" && ratio(item) < 4.5)
    .map((item) => item.outerHTML.slice(0, 120));
})()"""
"""Texts with less contrast than WCAG 2 wants at level AA."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(tab: Tab, page: Path, theme: str) -> None:
    tab.open(f"{page.as_uri()}#theme={theme}")
    assert tab.value(CONTRAST) == []


WIDE = """Array.from(document.querySelectorAll("main *, header *"))
  .filter((e) => !e.closest(".scroll, svg, canvas"))
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 120))"""


CUT = """Array.from(document.querySelectorAll(".scroll caption, .scroll p")).map((e) => e.textContent)"""
"""Sentences in a part that scrolls sideways, where a narrow screen cuts them off."""


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_nothing_is_wider_than_the_screen(tab: Tab, page: Path, width: int) -> None:
    tab.open(page.as_uri(), width=width)
    tab.value("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert tab.value(WIDE) == []
    assert tab.value("document.documentElement.scrollWidth") == width
    assert tab.value(CUT) == []


FOCUSED = """(() => {
  const e = document.activeElement, label = e.getAttribute("aria-label") || (e.closest("label") || e).textContent;
  return [e.id || e.className || e.tagName, label.trim(), getComputedStyle(e).outlineStyle];
})()"""


DESCRIBED = """Array.from(document.querySelectorAll("table[aria-describedby]")).some((e) =>
  document.getElementById(e.getAttribute("aria-describedby")).textContent.includes("from the highest peak"))"""


def test_the_focus_goes_through_all_controls_in_their_order(report: Tab) -> None:
    report.value("document.body.focus()")
    seen: list[Any] = []
    for _ in range(40):
        report.press("Tab")
        seen.append(report.value(FOCUSED))
    names = [name for name, _, _ in seen]
    tools = "theme view scan map zoom side level width map-opacity map-low map-high mask-opacity cross reset"
    wanted = ["skip", *tools.split(), *["CANVAS", "INPUT"] * 3]
    assert names[: len(wanted)] == wanted
    assert all(label and outline != "none" for _, label, outline in seen[: len(wanted)])
    assert report.value(DESCRIBED), "a table of clusters without its note"
    assert "Show cluster 1 in the viewer" in [label for _, label, _ in seen]


ROLES = """Array.from(document.querySelectorAll("canvas, input, select, button, [tabindex='0']")).filter((e) => {
  const name = e.getAttribute("aria-label") || (e.closest("label") || {}).textContent || e.textContent;
  return e.getClientRects().length && !(name || "").trim();
}).length"""


def test_what_can_be_focused_has_a_name_and_changes_are_announced(report: Tab) -> None:
    assert report.value(ROLES) == 0
    assert report.value("document.querySelector('#live').getAttribute('aria-live')") == "polite"
    report.click("button[data-jump='2']")
    report.wait("document.querySelector('#live').textContent.includes('in cluster 2')")
    text = report.value("document.querySelector('#panels input').getAttribute('aria-valuetext')")
    assert text == f"slice {a_prediction().clusters[1].peak_index[2]}, I 20 mm"


def test_without_scripts_numbers_table_and_pictures_are_there(tab: Tab, page: Path) -> None:
    tab.open(page.as_uri(), script=False)
    text = tab.value("document.body.innerText")
    assert (
        "Patient score" in text and "The viewer needs JavaScript" in text and "Slices with the highest scores" in text
    )
    assert tab.value("document.querySelector('#viewer').getClientRects().length") == 0
    assert tab.value("document.querySelectorAll('tr[data-cluster]').length") == 2
    assert tab.value("Array.from(document.images).every((i) => i.complete && i.naturalWidth > 0)")
    tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_an_old_browser_says_why_there_is_no_viewer(tab: Tab, page: Path) -> None:
    source = tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream;")
    tab.call("Page.navigate", url="about:blank")
    tab.call("Page.navigate", url=page.as_uri())
    tab.wait("document.querySelector('#failure') && !document.querySelector('#failure').hidden")
    assert "a newer version of Chrome, Edge, Firefox or Safari can" in tab.value(
        "document.querySelector('#failure').textContent"
    )
    tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=source["identifier"])


def test_the_list_of_patients_is_sorted_and_leads_to_the_reports(tab: Tab, tmp_path: Path) -> None:
    outcomes = []
    for name, threshold in (("anna", 0.7), ("ben & <b>", 0.5), ("cleo", None)):
        a_prediction(threshold=threshold).save(tmp_path / name, name)
        outcomes.append(Outcome(name, json.loads((tmp_path / name / "prediction.json").read_text())))
    write_cohort(tmp_path, [Outcome("zoe", {}, "zoe.nii is empty; give another."), *outcomes])
    tab.open((tmp_path / "index.html").as_uri(), width=400)
    assert tab.messages == [] and tab.value(WIDE) == []
    names = "Array.from(document.querySelectorAll('tbody th')).map((e) => e.textContent)"
    assert tab.value(names) == ["zoe", "anna", "ben & <b>", "cleo"]
    tab.click("#patients thead th:nth-child(8) button")
    assert tab.value(names) == ["ben & <b>", "anna", "zoe", "cleo"]  # the volume, largest first, unknown last
    assert tab.value("document.querySelector('th[aria-sort]').textContent") == "Volume in ml"
    tab.click("#patients thead th:nth-child(2) button")
    assert tab.value(names) == ["anna", "ben & <b>", "cleo", "zoe"]
    assert tab.value("Array.from(document.images).every((i) => i.complete && i.naturalWidth > 0)")
    assert tab.value(CONTRAST) == []
    tab.click("tbody tr:nth-child(2) a", down=0.25, leave=True)  # of two lines, with a gap between them
    tab.wait("document.title === 'ben & <b>: anomaly map'")
