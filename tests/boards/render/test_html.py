from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from boards_fixture import DEFAULT_METHODS, SUBSETS, FakeMethod, write_cell, write_head, write_runs
from PIL import Image
from places import ROOT
from synthetic_board import synthetic_board

from anyadbench.boards import load_boards
from anyadbench.boards.aggregate.model import Estimate
from anyadbench.boards.render import gallery, tiles
from anyadbench.boards.render.cell_details import read_curves, read_manifest, thin
from anyadbench.boards.render.csvfile import leaderboard_csv
from anyadbench.boards.render.heat_colours import contrast, shade
from anyadbench.boards.render.html import board_html
from anyadbench.boards.render.page_tables import cards, facts
from anyadbench.boards.render.svg import nice_ticks
from anyadbench.results.kept_maps import KeptMaps, read_maps

CONTROLS = (
    FakeMethod("control:intensity", "Brightness (control)", 1.2, maps=False, changes={"kind": "control"}),
    FakeMethod("control:brain", "Brain mask (control)", 0.2, maps=False, changes={"kind": "control"}),
)
REPORTED = ROOT / "leaderboards/reported"
METHODS = (*DEFAULT_METHODS, *CONTROLS)
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)> {{ 7*7 }}'


class Page(HTMLParser):
    """Collects elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return board_html(load_boards(write_runs(tmp_path_factory.mktemp("runs"), METHODS, size=32))[0])


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_page_loads_nothing_from_outside(text: str, page: Page) -> None:
    found = [attributes.get(name) for _, attributes in page.elements for name in ("src", "href")]
    addresses = [value for value in found if value]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|https?://", text)


def test_policy_names_the_hash_of_the_only_script(text: str) -> None:
    import hashlib

    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in text or f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_every_picture_has_an_alternative_text(page: Page) -> None:
    pictures = page.all("img")
    assert len(pictures) > 100 and all(len(picture["alt"] or "") > 5 for picture in pictures)
    plots = [plot for plot in page.all("svg") if plot.get("aria-hidden") != "true"]
    assert plots and all(plot.get("role") == "img" and plot.get("aria-label") for plot in plots)


def test_page_has_every_section_and_a_language(text: str, page: Page) -> None:
    ids = {attributes.get("id") for attributes in page.all("section")}
    wanted = {
        "first", "ranking", "pairs", "heat", "robustness", "maps", "results", "intervals", "curves", "decisions",
        "cost", "coverage", "methods",
    }  # fmt: skip
    assert wanted <= ids
    assert page.all("html")[0]["lang"] == "en"
    assert "RuntimeError: the loss is not finite" in text and "step 40 loss inf" in text


def test_results_table_has_a_row_for_every_line(page: Page) -> None:
    rows = [row for row in page.all("tr") if "data-subset" in row]
    assert len(rows) == (3 + 2) * len(SUBSETS)
    assert {head.get("scope") for head in page.all("th")} <= {"col", "row"}


def section(text: str, name: str) -> str:
    return text[text.index(f'<section id="{name}"') :].split("</section>")[0]


def test_page_begins_with_what_the_board_decides(text: str) -> None:
    assert text.index('<section id="first"') < text.index('class="cards"') < text.index('<section id="ranking"')
    first = section(text, "first")
    verdict = first[first.index('<p class="verdict">') :].split("</p>")[0]
    assert "3 methods beat the better of brain mask and brightness" in verdict
    assert "1 cell without a readable result" in first


def test_notices_are_one_line_each_with_a_list_on_demand() -> None:
    notices = tuple(f"Method {i}: left out {i} rows of earlier cells." for i in range(20))
    text = board_html(synthetic_board(30, notices=notices))
    first = section(text, "first")
    assert first.count('<span class="flag">') == 1 and first.count("<details") == 2
    assert first.count("22 methods, 154 rows") == 1 and first.count("20 such notices") == 1
    assert all(notice in first for notice in notices)
    visible = re.sub(r"<details.*?</details>", "", first, flags=re.DOTALL)
    assert "Method 19" not in visible and len(re.sub(r"<[^>]*>", "", visible)) < 600


def test_departures_are_shown_once_per_method_on_demand() -> None:
    text = board_html(synthetic_board(3))
    visible = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    for place in range(3):
        assert text.count(f"Departure {place}.1") == 1 and f"Departure {place}.1" not in visible
    assert text.count("2 departures from the publication") == 4


def test_every_number_that_is_not_above_the_control_has_a_mark_and_a_reason() -> None:
    board = synthetic_board(12)
    text = board_html(board)
    not_better = sum(against.verdict != "better" for line in board.lines for against in line.against.values())
    assert not_better == 9 * 7 * 7
    for part in ("heat", "results"):
        marked = re.findall(r'<td[^>]*title="([^"]*)"[^>]*>[^<]*<i>', section(text, part))
        assert len(marked) == not_better
        assert all(title.endswith((": not better", ": below")) and ", p ." in title for title in marked)
        assert "Against the best control" in section(text, part)


def test_ranking_shows_what_the_tests_leave_open() -> None:
    ranking = section(board_html(synthetic_board(12)), "ranking")
    row = next(row for row in ranking.split("<tr") if ">Method 3 " in row)
    plain = " ".join(re.sub(r"<[^>]*>", " ", row).split())
    assert "4 b 1 to 7 Method 3" in plain
    assert "+.100 \N{WHITE CIRCLE} [.000, .200] .700 [.650, .750] .690 F" in plain and "about 40" in plain


def test_page_of_100_methods_is_complete_and_its_matrix_closed() -> None:
    text = board_html(synthetic_board(100))
    pairs = section(text, "pairs")
    assert '<details class="matrix"><summary>Measured, 100 methods: Pixel AP' in pairs
    assert section(text, "robustness").count("<figcaption>Method 99<") == 7
    assert len(text.encode()) < 8_000_000


def test_rows_state_how_common_lesions_are(text: str) -> None:
    assert section(text, "results").count(" % of slices</small><small>2.2 % of pixels</small>") == 5 * len(SUBSETS)


def test_controls_are_in_every_plot_with_numbers(text: str) -> None:
    for part in ("intervals", "curves", "cost", "robustness"):
        assert 'class="control"' in section(text, part), part
    assert (
        section(text, "heat").count('<tr class="control">') == 2 * 9
    )  # the metrics of the fixture and two balanced ones


def test_only_compared_numbers_without_a_mark_are_better(text: str) -> None:
    """Controls and reported rows have no mark either, because nothing compares them."""
    legend = "A compared number without a mark is significantly better; controls and reported rows are not compared."
    assert text.count("Against the best control: <i>") == text.count(legend) > 2


def test_what_intervals_leave_out_is_said_of_the_row(tmp_path: Path) -> None:
    """The noise of seeds of one seed; a value outside its own interval is said of the number."""
    one = FakeMethod("one", "One", 2.0, (0,), maps=False, replicates=True)
    two = FakeMethod("two", "Two", 2.0, (0, 1), maps=False, replicates=True)
    for method in (one, two):
        for seed in method.seeds:
            write_cell(tmp_path / "cells", method, seed)
    (board,) = load_boards(tmp_path)
    results = section(board_html(board), "results")
    said = "one seed: its noise is not in the interval"
    assert results.count(f'title="{said}"') == len(SUBSETS)
    rows = {row["variant"]: row["reasons"] for row in csv.DictReader(io.StringIO(leaderboard_csv(board)))}
    assert f"intervals: {said}" in rows["One"] and said not in rows["Two"]
    outside = Estimate(0.5, 0.6, 0.7, remark=f"{said}; the centre is corrected for bias, and the value lies outside")
    lines = [replace(line, metrics=line.metrics | {"aupro": outside}) for line in board.lines]
    marked = replace(board, lines=tuple(lines))
    results = section(board_html(marked), "results")
    title = "the centre is corrected for bias, and the value lies outside"
    assert results.count(f'<small title="{title}">.600 to .700</small>') == len(SUBSETS)
    rows = {row["variant"]: row["reasons"] for row in csv.DictReader(io.StringIO(leaderboard_csv(marked)))}
    assert f"aupro: {title}" in rows["One"]


def test_rows_of_publications_are_no_finished_cells(tmp_path: Path) -> None:
    board = {one.slug: one for one in load_boards(write_runs(tmp_path / "runs"), reported=REPORTED)}["bmad-brain"]
    assert {variant.kind for variant in board.variants} == {"reported"}
    clean = replace(board, failures=(), unreadable=())
    assert "Finished cells" not in [card.label for card in cards(clean)]
    cell = board.variants[0].cells[0]
    assert {card.label: card.value for card in cards(replace(clean, failures=(cell,)))}["Finished cells"] == "0"


def test_page_without_controls_says_so(tmp_path: Path) -> None:
    write_runs(tmp_path, DEFAULT_METHODS, failed=False)
    text = board_html(load_boards(tmp_path)[0])
    assert "No control was run, so nothing says what brightness alone reaches." in section(text, "first")
    assert 'class="control"' not in text and "Against the best control" not in text


def test_every_subset_has_a_colour_range_of_its_own(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0, size=48)
    with np.load(cell / "scores/maps.npz") as data:
        arrays = {name: data[name] for name in data.files}
    plain = gallery.make_gallery(load_boards(tmp_path)[0])
    arrays["maps"][:, 0] *= 100  # the first subset's scores are a hundredfold
    np.savez(cell / "scores/maps.npz", **arrays)
    scaled = gallery.make_gallery(load_boards(tmp_path)[0])
    ((_, before),), ((_, after),) = plain.scales, scaled.scales
    assert [name for name, *_ in after] == list(SUBSETS)
    assert after[0][2] == pytest.approx(100 * before[0][2], rel=1e-4) and after[1:] == before[1:]
    assert after[0][2] != after[1][2]
    for one, two in zip(plain.slices, scaled.slices, strict=True):
        assert [tile.uri for tile in one.methods[0].maps[1:]] == [tile.uri for tile in two.methods[0].maps[1:]]


def test_controls_keep_their_maps_where_methods_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "_MAX_METHODS", 3)
    write_runs(tmp_path, (*DEFAULT_METHODS, replace(CONTROLS[0], maps=True)), failed=False)
    made = gallery.make_gallery(load_boards(tmp_path)[0])
    assert [label for label, _ in made.scales] == ["AnyAD", "INPFormer", "Brightness (control)"]
    assert made.problems == ("Only the first 2 methods and the controls are shown. Affects Per-pixel normal.",)


def test_slices_of_a_subset_share_a_colour_range(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0, size=48)
    with np.load(cell / "scores/maps.npz") as data:
        arrays = {name: data[name] for name in data.files}
    arrays["maps"][1:, 0] *= 0.01
    np.savez(cell / "scores/maps.npz", **arrays)
    made = gallery.make_gallery(load_boards(tmp_path)[0])
    first, second = (decoded(view.methods[0].maps[0].uri).astype(float) for view in made.slices[:2])
    colour = [np.abs(picture[..., 0] - picture[..., 2]).mean() for picture in (first, second)]
    assert colour[0] > 3 * colour[1]


def test_hostile_text_is_escaped_everywhere(tmp_path: Path) -> None:
    changes = dict.fromkeys(("weights.name", "method.citation", "protocol.title"), HOSTILE)
    changes |= {"method.params": {HOSTILE: HOSTILE}}
    method = FakeMethod("evil", HOSTILE, departures=[HOSTILE], changes=changes)
    cell = write_cell(tmp_path / "cells", method, 0, tests=(HOSTILE,))
    (cell / "manifest.json").write_text(json.dumps({HOSTILE: [HOSTILE]}))
    with np.load(cell / "scores/maps.npz") as data:
        arrays = {name: data[name] for name in data.files}
    info = json.loads(str(arrays["info"].item()))
    info["slices"][0] |= {"subject": HOSTILE, "scan": HOSTILE}
    np.savez(cell / "scores/maps.npz", **(arrays | {"info": np.array(json.dumps(info))}))
    write_head(tmp_path / "cells/bad", "failed", HOSTILE, 0, error=HOSTILE, log_tail=[HOSTILE])
    text = board_html(load_boards(tmp_path)[0])
    page = Page(text)
    assert len(page.all("script")) == 1
    assert all((picture["src"] or "").startswith("data:image/png") for picture in page.all("img"))
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "{{ 7*7 }}" in text


def test_page_without_maps_and_curves_says_so(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", FakeMethod("anyad", "AnyAD", maps=False), 0)
    (cell / "scores/curves.json").unlink()
    text = board_html(load_boards(tmp_path)[0])
    assert "No maps were kept" in text and "No cell has curves." in text


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"\x93NUMPY"])
def test_damaged_maps_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0)
    (cell / "scores/maps.npz").write_bytes(content)
    assert "maps.npz is damaged" in str(read_maps(cell))
    assert "maps.npz is damaged" in board_html(load_boards(tmp_path)[0])


def test_maps_in_an_unknown_compression_are_a_sentence(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0)
    path = cell / "scores/maps.npz"
    content = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(signature)
        content[start + place : start + place + 2] = b"\x63\x00"
    path.write_bytes(content)
    assert "maps.npz is damaged" in str(read_maps(cell))


def test_maps_that_unpack_to_too_much_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0)
    monkeypatch.setattr("anyadbench.results.kept_maps.MAX_BYTES", 2**10)
    assert "maps.npz is larger than 0 MB unpacked" in str(read_maps(cell))


def test_maps_of_a_wrong_shape_or_with_objects_are_refused(tmp_path: Path) -> None:
    cell = write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0)
    path = cell / "scores/maps.npz"
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    np.savez(path, **(arrays | {"masks": arrays["masks"][:, :-1]}))
    assert "damaged" in str(read_maps(cell))
    np.savez(path, **(arrays | {"info": np.array({"a": 1}, dtype=object)}))
    assert "damaged" in str(read_maps(cell))
    np.savez(path, **arrays)
    assert isinstance(read_maps(cell), KeptMaps)


def test_scan_without_a_sequence_shows_why_there_is_no_map(text: str) -> None:
    assert "This scan has no T1." in text
    assert "This scan cannot serve F+T1." in text


def test_best_and_worst_slices_are_ordered_by_their_quality(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0, size=48)
    made = gallery.make_gallery(load_boards(tmp_path)[0])
    titles = [(badge, float(title.rsplit(" ", 1)[1])) for badge, title, _, _ in made.showcases[0].panels]
    assert [badge for badge, _ in titles] == ["best", "median", "worst"]
    assert titles[0][1] >= titles[1][1] >= titles[2][1]


def test_pictures_stay_within_their_budget(tmp_path: Path) -> None:
    write_cell(tmp_path / "cells", DEFAULT_METHODS[0], 0, size=96)
    board = load_boards(tmp_path)[0]
    whole, small = gallery.make_gallery(board), gallery.make_gallery(board, budget=60_000)
    assert whole.left_out == 0 and len(whole.slices) == 9
    assert small.left_out > 0 and small.slices
    assert gallery._bytes(small) <= 60_000 < gallery._bytes(whole)


def test_page_of_three_methods_is_below_6_mb(tmp_path: Path) -> None:
    write_runs(tmp_path, size=160)
    assert len(board_html(load_boards(tmp_path)[0]).encode()) < 6_000_000


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_outline_surrounds_the_lesion_and_hides_none_of_it() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[15:25, 10:20] = True
    picture = decoded(tiles.png_uri(tiles.grey_tile(np.full((40, 40), 90, np.uint8), 40), tiles.outline(mask, 40)))
    drawn = (picture == tiles.CONTOUR).all(axis=-1)
    assert drawn[14, 12] and drawn[25, 12] and drawn[20, 9] and drawn[20, 20]
    assert not drawn[mask].any() and drawn.sum() == 4 * 10


def test_map_is_invisible_at_the_low_end_and_bright_at_the_high_end() -> None:
    grey = tiles.grey_tile(np.full((8, 8), 100, np.uint8), 8)
    scores = np.zeros((8, 8), np.float32)
    scores[:, 4:] = 1
    blended = tiles.blend_map(grey, scores, 0.0, 1.0)
    np.testing.assert_allclose(blended[:, 0], 100, atol=1)
    assert blended[4, 7, 0] > 200


def test_constant_map_does_not_divide_by_zero() -> None:
    grey = tiles.grey_tile(np.full((8, 8), 100, np.uint8), 8)
    assert np.isfinite(tiles.blend_map(grey, np.full((8, 8), 3, np.float32), 3.0, 3.0)).all()


def test_crop_keeps_everything_that_is_not_black() -> None:
    images = np.zeros((2, 60, 50), np.uint8)
    images[0, 10:30, 20:35] = 9
    top, left, bottom, right = tiles.crop_box(images, np.zeros((1, 60, 50), bool))
    assert bottom - top == right - left
    assert top <= 10 and bottom >= 30 and left <= 20 and right >= 35


@pytest.mark.parametrize("level", [i / 20 for i in range(21)])
def test_heat_map_text_is_readable_in_both_themes(level: float) -> None:
    colours = shade(level)
    for back, ink in ((colours.light, colours.light_text), (colours.dark, colours.dark_text)):
        one, two = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (back, ink))
        assert contrast(one, two) >= 4.5  # type: ignore[arg-type]


def test_curves_are_thinned_with_their_ends() -> None:
    points = tuple((i / 999, (i / 999) ** 0.5) for i in range(1000))
    kept = thin(points)
    assert len(kept) <= 80 and kept[0] == points[0] and kept[-1] == points[-1]


def test_curves_with_wild_values_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    good = [[0, 0], [1, 1]]
    content = {"a|F": {"roc": [[0, 0], [2, 1]], "pr": "x", "pro": good}, "b": {"roc": good}, "a|T1": 3}
    (tmp_path / "scores/curves.json").write_text(json.dumps(content))
    assert read_curves(tmp_path) == {("a", "F"): {"pro": ((0.0, 0.0), (1.0, 1.0))}}


def test_manifest_is_flattened_and_bounded(tmp_path: Path) -> None:
    content = {"a": {"b": 1, "c": [1, 2]}, "z": {str(i): i for i in range(500)}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    entries = read_manifest(tmp_path)
    assert entries[:3] == [("a.b", "1"), ("a.c", "1, 2"), ("z.0", "0")] and len(entries) == 2 + 25


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.61, 0.64), (0.0, 1e-6), (3.0, 4000.0)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 7 and all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


def test_several_test_sets_can_be_chosen(tmp_path: Path) -> None:
    write_runs(tmp_path, methods=DEFAULT_METHODS[:2], tests=("mu", "pretreat"), failed=False)
    page = Page(board_html(load_boards(tmp_path)[0]))
    assert any(select.get("id") == "pick-test" for select in page.all("select"))
    shown = [block for block in page.all("div") if "data-block-metric" in block and "hidden" not in block]
    assert {block["data-block-test"] for block in shown} == {"mu"}


def test_what_methods_were_trained_on_is_said_in_phrases(tmp_path: Path) -> None:
    board = load_boards(write_runs(tmp_path / "runs"))[0]
    assert dict(facts(board))["Trained on"] == "16 subjects; 128 slices"

    def trained(*steps: int, **more: str) -> str:
        (cell, *_), result = board.variants[0].cells, board.variants[0].cells[0].result
        assert result is not None
        cells = tuple(
            replace(cell, result=result.model_copy(update={"train": {"slices": 386, "steps": count} | more}))
            for count in steps
        )
        return dict(facts(replace(board, variants=(replace(board.variants[0], cells=cells),))))["Trained on"]

    assert trained(9, 9, validation="subjects") == "386 slices; 9 steps; thresholds from other subjects"
    assert trained(1, 2, 3, 4) == "386 slices; steps differ by method"
    assert trained(0, source="published checkpoint, not trained") == (
        "386 slices; 0 steps; source: published checkpoint, not trained"
    )
