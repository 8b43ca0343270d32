from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest
from boards_fixture import write_runs
from browser import CHROMIUM, browse, screenshot

from anyadbench.boards import build_boards

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return build_boards(write_runs(folder / "runs", size=64), folder / "out")[0].report


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


def test_narrow_screen_needs_no_sideways_scrolling(tmp_path: Path, report: Path) -> None:
    frame = tmp_path / "frame.html"
    page = html.escape(report.read_text(encoding="utf-8"), quote=True)
    frame.write_text(
        f'<!DOCTYPE html><iframe width="390" height="3000" style="border:0" srcdoc="{page}"></iframe><p id="w"></p>'
        "<script>onload = () => { document.getElementById('w').textContent = "
        "'width ' + frames[0].document.documentElement.scrollWidth; };</script>",
        encoding="utf-8",
    )
    text, messages = browse(tmp_path, frame.as_uri(), "--dump-dom")
    assert messages == []
    assert "width 390" in text.split("</iframe>")[1]
    assert screenshot(tmp_path, frame.as_uri(), "500,3000").std() > 5
