from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards_fixture import DEFAULT_METHODS, FakeMethod, write_runs
from browser import CHROMIUM, browse, screenshot
from synthetic_board import synthetic_board

from anyadbench.boards import build_boards
from anyadbench.boards.render.html import board_html

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]


CONTROL = FakeMethod("control:intensity", "Brightness (control)", 1.2, maps=False, changes={"kind": "control"})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return build_boards(write_runs(folder / "runs", (*DEFAULT_METHODS, CONTROL), size=64), folder / "out")[0].report


def dom(tmp_path: Path, report: Path, view: str = "") -> str:
    text, messages = browse(tmp_path, f"{report.as_uri()}#{view}", "--dump-dom")
    assert messages == []
    assert 'data-ready="yes"' in text
    return text


def shown_rows(text: str) -> list[tuple[str, str]]:
    """Return name and subset of the rows of the first results table that are not hidden."""
    body = text[text.index('<table class="sortable">') :].split("</table>")[0]
    rows = re.findall(r'<tr data-name="([^"]*)" data-subset="([^"]*)" data-test="[^"]*"( hidden="")?>', body)
    return [(name, subset) for name, subset, hidden in rows if not hidden]


def test_page_runs_without_errors_or_requests(tmp_path: Path, report: Path) -> None:
    text = dom(tmp_path, report)
    assert len(shown_rows(text)) == 21
    assert "28 rows" in text


def test_sorting_orders_rows_and_tells_screen_readers(tmp_path: Path, report: Path) -> None:
    text = dom(tmp_path, report, "sort=aupro&dir=asc")
    table = text[text.index('<table class="sortable">') :].split("</table>")[0]
    values = [float(value) for value in re.findall(r'data-of="aupro" data-value="([\d.]+)"', table)]
    assert len(values) == 21 and values == sorted(values)
    assert re.search(r'<th[^>]*data-sort="aupro"[^>]*aria-sort="ascending"', table)


def test_filters_of_an_address_are_applied(tmp_path: Path, report: Path) -> None:
    assert shown_rows(dom(tmp_path, report, "subset=F+T1&find=inp")) == [("INPFormer", "F+T1")]


def test_columns_and_metric_of_an_address_are_applied(tmp_path: Path, report: Path) -> None:
    text = dom(tmp_path, report, "metric=image_ap&columns=aupro,pixel_f1")
    assert re.search(r'data-block-metric="image_ap" data-block-test="phantom">', text)
    assert re.search(r'data-block-metric="pixel_ap" data-block-test="phantom" hidden="">', text)
    assert re.search(r'data-of="pixel_ap"[^>]*class="gone"', text)
    assert not re.search(r'data-of="aupro"[^>]*class="gone"', text)


def test_choices_that_do_not_exist_are_ignored(tmp_path: Path, report: Path) -> None:
    assert len(shown_rows(dom(tmp_path, report, "subset=%3Cb%3E&metric=x&sort=%22&theme=pink&to=a%22b"))) == 21


@pytest.mark.parametrize(("theme", "dark"), [("light", False), ("dark", True)])
def test_themes_can_be_chosen(tmp_path: Path, report: Path, theme: str, dark: bool) -> None:
    picture = screenshot(tmp_path, f"{report.as_uri()}#theme={theme}", "1280,1600")
    assert picture.std() > 5
    assert (np.median(picture) < 60) == dark


@pytest.mark.parametrize(("scheme", "dark"), [(1, False), (0, True)])
def test_page_follows_the_preferred_colours(tmp_path: Path, report: Path, scheme: int, dark: bool) -> None:
    setting = f"--blink-settings=preferredColorScheme={scheme}"
    assert (np.median(screenshot(tmp_path, report.as_uri(), "1280,900", setting)) < 60) == dark


def measured(tmp_path: Path, page: str, width: int, expression: str) -> Any:
    """Return the value of a script about a page, evaluated outside it, since only the page's own script may run in it.

    Args:
        tmp_path: Where to write.
        page: Text of the page.
        width: Width of its frame in pixels.
        expression: In JavaScript, of the document ``page``.
    """
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<!DOCTYPE html><iframe width="{width}" height="3000" style="border:0" srcdoc="{html.escape(page)}"></iframe>'
        '<p id="w"></p><script>onload = () => { const page = frames[0].document; '
        f"document.getElementById('w').textContent = JSON.stringify({expression}); }};</script>",
        encoding="utf-8",
    )
    text, messages = browse(tmp_path, frame.as_uri(), "--window-size=1400,3000", "--dump-dom")
    assert messages == []
    return json.loads(html.unescape(text.rsplit('<p id="w">', 1)[1].split("</p>")[0]))


OPENED = """(() => {
  page.querySelectorAll("details").forEach((item) => { item.open = true; });
  page.querySelectorAll("[hidden]").forEach((item) => { item.hidden = false; });
  const wide = Array.from(page.querySelectorAll("main *, header *"))
    .filter((item) => !item.closest(".scroll, nav") && item.getBoundingClientRect().right > page.body.clientWidth + 1)
    .map((item) => item.outerHTML.slice(0, 200));
  return [page.documentElement.scrollWidth, wide];
})()"""

OVERLAPS = """Array.from(page.querySelectorAll("SELECTED svg")).map((plot) => {
  const boxes = Array.from(plot.querySelectorAll("KINDS")).map((item) => item.getBoundingClientRect());
  const covered = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  const pairs = boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => covered(a, b)));
  return [boxes.length, pairs.length];
})"""


def overlaps(tmp_path: Path, page: str, section: str, kinds: str = "text") -> list[list[int]]:
    """Return for each plot of a section how many texts it has, and how many pairs of them overlap."""
    part = page[page.index(f'<section id="{section}"') :].split("</section>")[0]
    alone = page[: page.index("</head>")] + "<body><main>" + part.replace(" hidden>", ">")
    script = OVERLAPS.replace("SELECTED", f"#{section}").replace("KINDS", kinds)
    found: list[list[int]] = measured(tmp_path, alone, 1280, script)
    return found


def test_narrow_screen_needs_no_sideways_scrolling(tmp_path: Path, report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert measured(tmp_path, page, 390, "page.documentElement.scrollWidth") == 390
    assert screenshot(tmp_path, (tmp_path / "frame.html").as_uri(), "500,3000").std() > 5


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_screen_even_if_all_is_open(tmp_path: Path, report: Path, width: int) -> None:
    for page in (
        report.read_text(encoding="utf-8"),
        board_html(synthetic_board(42, title="A method with a long name")),
    ):
        found, wide = measured(tmp_path, page, width, OPENED)
        assert wide == [] and found == width


def test_labels_of_42_methods_do_not_overprint(tmp_path: Path) -> None:
    found = overlaps(tmp_path, board_html(synthetic_board(42)), "cost")
    assert len(found) == 5
    assert all(covered == 0 and texts > 30 for texts, covered in found)


def test_axes_and_control_of_robustness_plots_are_coloured(tmp_path: Path) -> None:
    script = """["light", "dark"].map((theme) => {
      page.documentElement.dataset.theme = theme;
      const found = (name) => getComputedStyle(page.querySelector("#robustness symbol ." + name));
      return [found("control").strokeDasharray, found("control").stroke, found("tick").fill];
    })"""
    (dash, stroke, fill), (_, other_stroke, other_fill) = measured(
        tmp_path, board_html(synthetic_board(3)), 900, script
    )
    assert dash != "none" and stroke == fill and stroke != other_stroke and fill != other_fill


def test_labels_of_interval_plots_do_not_overprint(tmp_path: Path) -> None:
    board = synthetic_board(30, title="A method with a long name")
    names = {"F": "as available", "F+T1+T2": "F+T1+T1ce+T2"}
    board = replace(
        board,
        subsets=tuple(names.get(subset, subset) for subset in board.subsets),
        lines=tuple(replace(line, subset=names.get(line.subset, line.subset)) for line in board.lines),
    )
    found = overlaps(tmp_path, board_html(board), "intervals")
    assert len(found) == 7 and all(covered == 0 and texts > 100 for texts, covered in found)


def test_labels_of_a_matrix_do_not_overprint(tmp_path: Path) -> None:
    for count in (5, 42, 100):
        page = board_html(synthetic_board(count, title="Name")).replace('class="matrix"', 'class="matrix" open')
        found = overlaps(tmp_path, page, "pairs", "text:not([transform])")
        assert found[4][0] == 2 * count + 1 + (count if count == 5 else 0) and found[4][1] == 0
