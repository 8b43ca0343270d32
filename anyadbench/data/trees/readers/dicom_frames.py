"""Where the frames of an enhanced (multi-frame) DICOM file lie: its functional groups, which SimpleITK does not give.

Sources: DICOM PS3.5, section 7 (the data set), and PS3.3, section C.7.6.16 (functional groups).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_HEADER = 64 << 20
"""Bytes of a file that are searched for functional groups, which lie before the pixels."""

_DEFLATED, _IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010
_ITEM, _END_ITEM, _END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_POSITION, _ORIENTATION, _MEASURES, _RESCALE = 0x00209113, 0x00209116, 0x00289110, 0x00289145
_GROUPS = {_SHARED, _PER_FRAME, _POSITION, _ORIENTATION, _MEASURES, _RESCALE}
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 8

Items = dict[int, Any]


@dataclass(frozen=True)
class Frame:
    """One frame of a multi-frame file, with its attributes as stored; empty where they are missing."""

    position: str
    orientation: str
    spacing: str
    slope: str
    intercept: str


def read_frames(path: Path) -> list[Frame]:
    """Return the frames of an enhanced DICOM file in the order of its pixels; empty if it is not one.

    Raises:
        ValueError: If its data set is damaged.
    """
    with path.open("rb") as file:
        data = file.read(min(MAX_HEADER, path.stat().st_size))  # a buffer of the size asked for is made at once
    if data[128:132] != b"DICM":
        return []
    try:
        head, at = _data_set(data, 132, len(data), implicit=False, depth=0, meta=True)
        syntax = head.get(_SYNTAX, b"").decode("ascii", "replace").strip("\0 ")
        if syntax == _DEFLATED:
            data, at = zlib.decompressobj(-15).decompress(data[at:], MAX_HEADER), 0
        found, _ = _data_set(data, at, len(data), implicit=syntax == _IMPLICIT, depth=0)
    except (struct.error, zlib.error, IndexError) as error:
        raise ValueError(f"its header ends early: {error}") from None
    shared = (found.get(_SHARED) or [{}])[0]
    frames = found.get(_PER_FRAME) or []
    return [_frame(own, shared) for own in frames] if isinstance(frames, list) and isinstance(shared, dict) else []


def _frame(own: Items, shared: Items) -> Frame:
    def value(group: int, tag: int) -> str:
        for place in (own, shared):
            items = place.get(group)
            if isinstance(items, list) and items and isinstance(items[0].get(tag), bytes):
                return str(items[0][tag].decode("ascii", "replace").strip("\0 "))
        return ""

    return Frame(
        value(_POSITION, 0x00200032),
        value(_ORIENTATION, 0x00200037),
        value(_MEASURES, 0x00280030),
        value(_RESCALE, 0x00281053),
        value(_RESCALE, 0x00281052),
    )


def _data_set(data: bytes, at: int, end: int, *, implicit: bool, depth: int, meta: bool = False) -> tuple[Items, int]:
    """Return a data set's elements, the listed sequences as lists of data sets, and where it ends."""
    if depth > _DEEPEST:
        raise ValueError("its sequences are nested too deeply")
    found: Items = {}
    while at + 8 <= end:
        group, element = struct.unpack_from("<HH", data, at)
        tag = group << 16 | element
        if tag == _PIXELS or (meta and group != 2):
            break
        if tag in (_END_ITEM, _END):
            return found, at + 8
        kind, length, at = _head(data, at + 4, implicit)
        if kind == b"SQ" or length == _UNDEFINED or (implicit and tag in _GROUPS):
            found[tag], at = _sequence(data, at, end, length, implicit, depth + 1)
            continue
        if at + length > end:
            break
        found[tag] = data[at : at + min(length, 256)]
        at += length
    return found, at


def _head(data: bytes, at: int, implicit: bool) -> tuple[bytes, int, int]:
    """Return an element's type and length, and where its value starts."""
    if implicit:
        return b"", struct.unpack_from("<I", data, at)[0], at + 4
    kind = data[at : at + 2]
    if kind in _LONG:
        return kind, struct.unpack_from("<I", data, at + 4)[0], at + 8
    return kind, struct.unpack_from("<H", data, at + 2)[0], at + 4


def _sequence(data: bytes, at: int, end: int, length: int, implicit: bool, depth: int) -> tuple[list[Items], int]:
    stop = end if length == _UNDEFINED else min(end, at + length)
    items: list[Items] = []
    while at + 8 <= stop:
        group, element, size = struct.unpack_from("<HHI", data, at)
        tag, at = group << 16 | element, at + 8
        if tag == _END:
            return items, at
        if tag != _ITEM:
            raise ValueError("a sequence holds something other than items")
        last = stop if size == _UNDEFINED else min(stop, at + size)
        item, after = _data_set(data, at, last, implicit=implicit, depth=depth)
        items.append(item)
        at = after if size == _UNDEFINED else at + size
    return items, at if length == _UNDEFINED else stop
