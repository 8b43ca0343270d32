"""The anomaly maps of a page: which slices, each method's best and worst subject, and all tiles in a byte budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.boards.aggregate.model import Board, Variant
from anyadbench.boards.render import tiles
from anyadbench.boards.render.text import decimal
from anyadbench.results.kept_maps import KeptMaps, SliceInfo, read_maps
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

BUDGET = 4_200_000
"""Largest size in bytes of all pictures on a page."""

_SIZES = (160, 128, 104, 80)
_MAX_MAPS = 500
_MIN_SLICES = 3
_MAX_METHODS = 20

TileKey = tuple[str, str, str, int]


@dataclass(frozen=True)
class Tile:
    """One picture, or the reason why there is none; ``note`` is shown below it."""

    label: str
    uri: str = ""
    alt: str = ""
    note: str = ""
    reason: str = ""


@dataclass(frozen=True)
class MethodTiles:
    """The maps of one variant for one slice; ``badge`` marks the best, median and worst of its kept subjects."""

    variant: str
    label: str
    maps: tuple[Tile, ...]
    badge: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SliceView:
    """One kept slice with every method's maps."""

    info: SliceInfo
    sequences: tuple[Tile, ...]
    truth: Tile
    methods: tuple[MethodTiles, ...]

    @property
    def title(self) -> str:
        """Heading of the slice."""
        size = f"lesion of {self.info.lesion_px} pixels" if self.info.lesion_px else "no lesion"
        return f"{self.info.scan}, slice {self.info.index}, {size}"


@dataclass(frozen=True)
class Showcase:
    """Best, median and worst subject of one variant: badge, title, ground truth and map."""

    label: str
    panels: tuple[tuple[str, str, Tile, Tile], ...]


@dataclass(frozen=True)
class Gallery:
    """All maps of a page.

    Attributes:
        scales: Label of each variant, and name, low and high end of the colour scale of each of its subsets.
        left_out: Number of kept slices left out by the byte budget.
        problems: Why variants show no maps.
    """

    subsets: tuple[str, ...]
    slices: tuple[SliceView, ...]
    showcases: tuple[Showcase, ...]
    scales: tuple[tuple[str, tuple[tuple[str, float, float], ...]], ...]
    left_out: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    variant: Variant
    data: KeptMaps
    index: Mapping[TileKey, int]
    ends: tuple[tuple[float, float], ...]
    quality: Mapping[TileKey, float]
    badges: Mapping[TileKey, str]


@dataclass(frozen=True)
class _Canvas:
    """The background of one slice's maps: the greys of its sequences and the outline of its lesions."""

    data: KeptMaps
    index: int
    box: tuple[int, int, int, int]
    greys: tuple[Float32[np.ndarray, "s s 3"], ...]
    line: Bool[np.ndarray, "s s"]


def make_gallery(board: Board, budget: int = BUDGET) -> Gallery:
    """Read the kept maps of every variant (from its lowest seed with maps) and draw them.

    Tiles shrink, and then slices are left out, until the pictures fit the budget.
    """
    sources, problems = _sources(board)
    places = _places(sources)
    per_slice = sum(len(source.data.subsets) for source in sources)
    kept = places[: max(_MIN_SLICES, _MAX_MAPS // max(per_slice, 1))]
    size = _fitting_size(sources, kept, budget)
    gallery = _draw(sources, kept, size)
    while _bytes(gallery) > budget and len(kept) > 1:
        kept = kept[: max(1, min(len(kept) - 1, int(len(kept) * budget / _bytes(gallery))))]
        gallery = _draw(sources, kept, size)
    return replace(gallery, left_out=len(places) - len(kept), problems=tuple(problems))


def _bytes(gallery: Gallery) -> int:
    found = 0
    for view in gallery.slices:
        rows = [*view.sequences, view.truth, *(tile for method in view.methods for tile in method.maps)]
        found += sum(len(tile.uri) for tile in rows)
    for showcase in gallery.showcases:
        found += sum(len(truth.uri) + len(tile.uri) for _, _, truth, tile in showcase.panels)
    return found


def _fitting_size(sources: Sequence[_Source], places: Sequence[TileKey], budget: int) -> int:
    """Return the largest tile size at which all slices should fit, estimated by drawing the first ones small."""
    if not places:
        return _SIZES[0]
    small = _SIZES[-1]
    sample = _bytes(_draw(sources, places[:1], small)) * len(places)
    # A palette PNG grows a little more slowly than its area; if the estimate is too low, slices are left out below.
    return next((size for size in _SIZES if sample * (size / small) ** 1.9 <= budget), small)


def _sources(board: Board) -> tuple[list[_Source], list[str]]:
    sources: list[_Source] = []
    lacking: dict[str, list[str]] = {}
    most = _MAX_METHODS - len(board.controls)
    for variant in board.variants:
        if variant.kind == "reported":
            continue
        if len(sources) >= (_MAX_METHODS if variant.kind == "control" else most):
            lacking.setdefault(f"Only the first {most} methods and the controls are shown.", []).append(variant.label)
            continue
        answer: KeptMaps | str = "No maps were kept."
        for cell in variant.cells:
            answer = read_maps(cell.folder)
            if isinstance(answer, KeptMaps):
                sources.append(_source(variant, answer))
                break
        else:
            lacking.setdefault(str(answer), []).append(variant.label)
    return sources, [f"{text} Affects {', '.join(labels)}." for text, labels in lacking.items()]


def _source(variant: Variant, data: KeptMaps) -> _Source:
    index = {info.key: k for k, info in enumerate(data.slices)}
    ends = tuple(_ends(data, r) for r in range(len(data.subsets)))
    quality: dict[TileKey, float] = {}
    for test, subject in dict.fromkeys((info.test, info.subject) for info in data.slices):
        mine = [k for k, info in enumerate(data.slices) if (info.test, info.subject) == (test, subject)]
        value = _subject_ap(data, mine)
        if value is not None:
            largest = max(mine, key=lambda k: (data.slices[k].lesion_px, -k))
            quality[data.slices[largest].key] = value
    ordered = sorted(quality, key=lambda place: (-quality[place], place))
    badges: dict[TileKey, str] = {}
    if len(ordered) >= 3:
        badges = {ordered[0]: "best", ordered[len(ordered) // 2]: "median", ordered[-1]: "worst"}
    elif ordered:
        badges = {ordered[0]: "best"} | ({ordered[-1]: "worst"} if len(ordered) == 2 else {})
    return _Source(variant, data, index, ends, quality, badges)


def _ends(data: KeptMaps, r: int) -> tuple[float, float]:
    """Return the ends of a subset's colour scale: the median in the brain, so that tissue stays grey; near the top.

    All slices of a subset share it. Subsets do not: scores of one may be tenfold those of another, and a common scale
    would show the maps of the lower one as empty, however good they are.
    """
    maps = data.maps[:, r]
    finite = maps[np.isfinite(maps) & np.any(data.images > 0, axis=1)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite[:: max(1, finite.size // 400_000)].astype(np.float64), (0.5, 0.999))
    return float(low), float(high)


def _fullest(data: KeptMaps, k: int) -> int | None:
    """Return the largest subset with a map for slice ``k``."""
    served = [r for r in range(len(data.subsets)) if np.isfinite(data.maps[k, r]).all()]
    return max(served, key=lambda r: (data.subsets[r].count("+"), -r), default=None)


def _subject_ap(data: KeptMaps, mine: Sequence[int]) -> float | None:
    """Return the pixel AP over a subject's kept slices, which decides the best and worst subject."""
    from anyadbench.metrics import evaluate

    shown = [(k, r) for k in mine if (r := _fullest(data, k)) is not None]
    if not any(data.masks[k].any() for k, _ in shown):
        return None
    maps = np.stack([data.maps[k, r] for k, r in shown])
    value = evaluate(maps, np.stack([data.masks[k] for k, _ in shown]))["pixel_ap"]
    return float(value) if np.isfinite(value) else None


def _places(sources: Sequence[_Source]) -> list[TileKey]:
    """Return all kept slices, the badged ones of each method first, so that they survive a small budget."""
    found: dict[TileKey, None] = {}
    for badge in ("best", "median", "worst"):
        for source in sources:
            found.update(dict.fromkeys(place for place, name in source.badges.items() if name == badge))
    for source in sources:
        found.update(dict.fromkeys(source.index))
    return list(found)


def _draw(sources: Sequence[_Source], places: Sequence[TileKey], size: int) -> Gallery:
    subsets = tuple(dict.fromkeys(subset for source in sources for subset in source.data.subsets))
    views = [_view(sources, place, subsets, size) for place in sorted(places)]
    return Gallery(
        subsets=subsets,
        slices=tuple(views),
        showcases=tuple(_showcase(source, size) for source in sources if source.badges),
        scales=tuple(
            (
                source.variant.label,
                tuple((name, *ends) for name, ends in zip(source.data.subsets, source.ends, strict=True)),
            )
            for source in sources
        ),
        left_out=0,
        problems=(),
    )


def _view(sources: Sequence[_Source], place: TileKey, subsets: Sequence[str], size: int) -> SliceView:
    owner = next(source for source in sources if place in source.index)
    data, k = owner.data, owner.index[place]
    info = data.slices[k]
    box = _box(data, info)
    mask = tiles.cut(data.masks[k], box)
    where = f"{info.scan}, slice {info.index}"
    greys = [tiles.grey_tile(tiles.cut(image, box), size) for image in data.images[k]]
    sequence_tiles = []
    for name, grey, present in zip(data.sequences, greys, data.present[k], strict=True):
        label = SHORT.get(name, name)
        if present:
            sequence_tiles.append(Tile(label, tiles.png_uri(grey), f"{label} of {where}"))
        else:
            sequence_tiles.append(Tile(label, reason=f"This scan has no {label}."))
    shown = [grey for grey, present in zip(greys, data.present[k], strict=True) if present] or greys
    lesion = f"{info.lesion_px} lesion pixels outlined" if mask.any() else "no lesion"
    line = tiles.outline(mask, size)
    uri = tiles.png_uri(shown[0], line)
    truth = Tile("Ground truth", uri, f"Ground truth of {where}: {lesion}")
    canvas = _Canvas(data, k, box, tuple(greys), line)
    methods = [_method_tiles(source, place, subsets, canvas) for source in sources]
    return SliceView(info, tuple(sequence_tiles), truth, tuple(methods))


def _box(data: KeptMaps, info: SliceInfo) -> tuple[int, int, int, int]:
    """Return one crop for all slices of a scan, so that they share a scale."""
    same = [k for k, other in enumerate(data.slices) if (other.test, other.scan) == (info.test, info.scan)]
    return tiles.crop_box(data.images[same].reshape(-1, *data.images.shape[2:]), data.masks[same])


def _method_tiles(source: _Source, place: TileKey, subsets: Sequence[str], canvas: _Canvas) -> MethodTiles:
    name = source.variant.label
    k = source.index.get(place)
    if k is None:
        return MethodTiles(source.variant.key, name, (), reason="No map of this slice was kept for this method.")
    data = source.data
    if data.maps.shape[2:] != canvas.data.maps.shape[2:]:
        return MethodTiles(source.variant.key, name, (), reason="These maps are on another grid.")
    found = []
    for subset in subsets:
        r = data.subsets.index(subset) if subset in data.subsets else None
        if r is None or not np.isfinite(data.maps[k, r]).all():
            found.append(Tile(subset, reason=f"This scan cannot serve {subset}."))
            continue
        grey = canvas.greys[_background(canvas.data, canvas.index, subset)]
        tile = tiles.blend_map(grey, tiles.cut(data.maps[k, r], canvas.box), *source.ends[r])
        score = data.slices[k].image_scores.get(subset)
        note = "" if score is None else f"{score:.3g}"
        alt = f"Anomaly map of {name} from {subset}, {data.slices[k].scan}, slice {data.slices[k].index}"
        alt += f", slice score {note}" if note else ""
        found.append(Tile(subset, tiles.png_uri(tile, canvas.line), alt, note))
    return MethodTiles(source.variant.key, name, tuple(found), source.badges.get(place, ""))


def _background(data: KeptMaps, k: int, subset: str) -> int:
    """Return the sequence behind a map: the first that the method was shown."""
    shown = set(subset.split("+"))
    for index, name in enumerate(data.sequences):
        if data.present[k, index] and SHORT.get(name, name) in shown:
            return index
    return int(np.argmax(data.present[k]))


def _showcase(source: _Source, size: int) -> Showcase:
    panels = []
    for place, badge in source.badges.items():
        r = _fullest(source.data, source.index[place])
        if r is not None:
            view = _view([source], place, [source.data.subsets[r]], size)
            title = f"{view.title}; pixel AP of the subject {decimal(source.quality[place])}"
            panels.append((badge, title, view.truth, view.methods[0].maps[0]))
    return Showcase(source.variant.label, tuple(panels))
