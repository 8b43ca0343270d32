"""A store's data card in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anyadbench.data.cards.summary import UNKNOWN
from anyadbench.names import readable


def card_markdown(card: Mapping[str, Any]) -> str:
    """Return the card of ``summarise`` as Markdown: what it is, people, scans, lesions, terms, and hashes."""
    parts = [
        f"# {_text(card['title'])}",
        f"Slice store of the data set `{card['dataset']}`, content hash `{card['content_hash'][:16]}`.",
        "## People",
        _bullets(_people(card)),
        "## Scans",
        _bullets(_scans(card)),
        _table(
            ("sequence", "scans", "subjects"),
            [(name, own["scans"], own["subjects"]) for name, own in card["sequences"].items()],
        ),
        "## Lesions",
        _bullets(_lesions(card)),
        "## Terms",
        _bullets([f"{name}: {_text(card[name])}" for name in ("where", "licence", "citation", "notes") if card[name]]),
        "## Files",
        _table(
            ("file", "bytes", "SHA-256"),
            [(f"`{name}`", own["bytes"], f"`{own['sha256']}`") for name, own in card["files"].items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _people(card: Mapping[str, Any]) -> Iterable[str]:
    yield f"{card['subjects']} subjects, {card['healthy_subjects']} of them healthy."
    for name, kind in (("sites", "Site"), ("sexes", "Sex")):
        if set(card[name]) != {UNKNOWN}:
            yield f"{kind}: " + ", ".join(f"{_text(value)} {count}" for value, count in card[name].items()) + "."
        else:
            yield f"{kind}: unknown."
    yield f"Age: {_range(card['age'], 'years')}."


def _scans(card: Mapping[str, Any]) -> Iterable[str]:
    field, voxel = card["field"], card["voxel_mm"]
    yield f"{card['scans']} scans; {card['scans_left_out']} were left out when the store was made."
    yield f"{card['slices']} axial slices of {field['height']} × {field['width']} pixels."
    steps = " × ".join(f"{own['least']:g}" + ("" if own["least"] == own["most"] else f" to {own['most']:g}")
                       for own in (voxel["y"], voxel["x"], voxel["z"]))  # fmt: skip
    yield f"Voxels of {steps} mm (height, width, distance of slices)."


def _lesions(card: Mapping[str, Any]) -> Iterable[str]:
    yield f"{card['scans_with_lesions']} of {card['scans']} scans have a lesion."
    slices, bare = card["slices_with_lesions"], card["slices_without_label"]
    yield f"{slices} of {card['slices']} slices show one; {bare} have no label."
    if "boxes" in card:
        yield f"Marked by {card['boxes']} boxes instead of masks."
    else:
        yield f"Volume: {_range(card['lesion_ml'], 'mL')}."


def _range(five: Mapping[str, Any], unit: str) -> str:
    if not five["known"]:
        return "unknown" if unit == "years" else "no lesion"
    ends = f"{five['least']:.3g} to {five['most']:.3g} {unit}"
    return f"{ends}, median {five['median']:.3g}, known for {five['known']} of {five['of']}"


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _text(value: object) -> str:
    return readable(str(value)).replace("|", "\\|")
