"""The header of a DICOM file, every length in it checked against the file.

SimpleITK reserves whatever a damaged length asks for, gigabytes for a file of one kilobyte, so it is given only files
that passed this. Source: DICOM PS3.5, section 7 (the data set), 6.2.2 (elements of unknown type) and annex A (transfer
syntaxes).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_INFLATED = 1 << 30
"""Bytes to which the data set of a deflated file may grow."""

_DEFLATED, _IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
          b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}  # fmt: skip
_SYNTAX, _PIXELS = 0x00020010, 0x7FE00010
_STORED_CLASS, _CLASS = 0x00020002, 0x00080016
_CLASSES = b"1.2.840.10008."
"""How the class of every DICOM object begins."""

START = 2048
"""Bytes at the start of a file by which it is known to be DICOM."""

_ITEM, _END_ITEM, _END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_GROUPS = {0x52009229, 0x52009230, 0x00209113, 0x00209116, 0x00289110, 0x00289145}
_ROWS, _COLUMNS, _FRAMES, _SAMPLES, _BITS = 0x00280010, 0x00280011, 0x00280008, 0x00280002, 0x00280100
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 8
_KEPT = 256
"""Bytes of a value that are kept: more than any value that is asked for has."""

_MOST_PIXELS = 1 << 31
"""Bytes of decoded pixels of one file: sixteen times those of 1,000 slices of 256 x 256."""

Items = dict[int, Any]


@dataclass(frozen=True)
class Header:
    """The elements of a DICOM file by tag: bytes, or a list of such dictionaries for a sequence.

    Attributes:
        items: Values are cut to 256 bytes; sequences are kept where the file marks them as such.
    """

    items: Items

    def text(self, tag: int) -> str:
        """Return a value as text, or an empty string if it is missing."""
        value = self.items.get(tag)
        return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else ""

    def number(self, tag: int, missing: int) -> int:
        """Return an unsigned short.

        Raises:
            ValueError: If it has another size.
        """
        value = self.items.get(tag)
        if value is None:
            return missing
        if not isinstance(value, bytes) or len(value) != 2:
            raise ValueError(f"its element {tag >> 16:04x},{tag & 0xFFFF:04x} is damaged")
        return int(struct.unpack("<H", value)[0])


def begins_as_dicom(start: bytes) -> bool:
    """Whether the first ``START`` bytes of a file are those of DICOM.

    That is the preamble and ``DICM``, or, in files that were stored without it, elements that lead to the class of a
    DICOM object.
    """
    return start[128:132] == b"DICM" or _bare(start) is not None


def read_header(path: Path) -> Header | None:
    """Return the header of a file with an image; ``None`` if it is not a DICOM file, or has no pixels.

    Raises:
        ValueError: If a length in it does not fit the file, or its encoding is not supported.
    """
    with path.open("rb") as file:
        start = file.read(START)
        if not begins_as_dicom(start):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                if start[128:132] == b"DICM":
                    return _parsed(data, 132)
                if start[:2] == b"\2\0":
                    return _parsed(data, 0)
                return _image_of(_data_set(data, 0, len(data), implicit=bool(_bare(start)), depth=0)[0])
            except (struct.error, zlib.error, IndexError) as error:
                raise ValueError(f"its header ends early: {error}") from None


def _bare(start: bytes) -> bool | None:
    """Return whether a file without a preamble is in implicit VR; ``None`` if it is not plainly DICOM."""
    if start[:4] in (b"\2\0\0\0", b"\2\0\1\0", b"\2\0\2\0"):
        return False if _class_in(start, implicit=False, last=_STORED_CLASS) else None
    if start[:2] != b"\x08\0":
        return None
    implicit = start[4:6] not in _SHORT | _LONG
    return implicit if _class_in(start, implicit=implicit, last=_CLASS) else None


def _class_in(start: bytes, *, implicit: bool, last: int) -> bool:
    """Whether ascending elements lead to the class of a DICOM object."""
    at, before = 0, -1
    while at + 8 <= len(start):
        group, element = struct.unpack_from("<HH", start, at)
        tag = group << 16 | element
        try:
            _, length, at = _head(start, at + 4, implicit)
        except (ValueError, struct.error):
            return False
        if tag == last:
            return start[at:].startswith(_CLASSES)
        if not before < tag < last:
            return False
        before, at = tag, at + length
    return False


def _parsed(data: mmap.mmap, at: int) -> Header | None:
    meta, at = _data_set(data, at, len(data), implicit=False, depth=0, meta=True)
    syntax = Header(meta).text(_SYNTAX)
    if syntax == _BIG_ENDIAN:
        raise ValueError("it is stored in big endian, which DICOM has retired")
    body: mmap.mmap | bytes = data
    if syntax == _DEFLATED:
        inflater = zlib.decompressobj(-15)
        body, at = inflater.decompress(data[at:], MAX_INFLATED), 0
        if inflater.unconsumed_tail:
            raise ValueError("its data set inflates to more than a gigabyte")
    return _image_of(_data_set(body, at, len(body), implicit=syntax == _IMPLICIT, depth=0)[0])


def _image_of(found: Items) -> Header | None:
    if _PIXELS not in found:
        return None
    header = Header(found)
    _check_pixels(header)
    return header


def _check_pixels(header: Header) -> None:
    """Refuse a file whose pictures are larger than what it holds, or than any that is read here."""
    frames = header.text(_FRAMES) or "1"
    if not (frames.isascii() and frames.isdigit() and int(frames)):
        raise ValueError("its number of frames is damaged")
    picture = header.number(_ROWS, 0) * header.number(_COLUMNS, 0) * header.number(_SAMPLES, 1)
    size = picture * int(frames) * ((header.number(_BITS, 8) + 7) // 8)
    stored = header.items[_PIXELS]
    if size > (stored if stored is not None else _MOST_PIXELS):
        raise ValueError("its pictures are larger than the pixels that it holds")


def _data_set(
    data: mmap.mmap | bytes, at: int, end: int, *, implicit: bool, depth: int, meta: bool = False
) -> tuple[Items, int]:
    """Return a data set's elements, the listed sequences as lists of data sets, and where it ends.

    The pixels are kept as the number of their bytes, or ``None`` if they are compressed.
    """
    if depth > _DEEPEST:
        raise ValueError("its sequences are nested too deeply")
    found: Items = {}
    while at + 8 <= end:
        group, element = struct.unpack_from("<HH", data, at)
        tag = group << 16 | element
        if meta and group != 2:
            break
        if tag in (_END_ITEM, _END):
            return found, at + 8
        kind, length, at = _head(data, at + 4, implicit)
        if tag == _PIXELS and length == _UNDEFINED:
            found[tag], at = None, _fragments(data, at, end)
            continue
        unknown = kind == b"UN"
        if kind == b"SQ" or length == _UNDEFINED or ((implicit or unknown) and tag in _GROUPS):
            # A sequence of unknown type is in implicit VR, whatever the file is in: a writer that did not know it
            # copied it from such a file.
            found[tag], at = _sequence(data, at, end, length, implicit or unknown, depth + 1)
            continue
        if at + length > end:
            raise ValueError(f"its element {group:04x},{element:04x} claims more bytes than there are")
        found[tag] = length if tag == _PIXELS else data[at : at + min(length, _KEPT)]
        at += length
    return found, at


def _head(data: mmap.mmap | bytes, at: int, implicit: bool) -> tuple[bytes, int, int]:
    """Return an element's type and length, and where its value starts."""
    if implicit:
        return b"", struct.unpack_from("<I", data, at)[0], at + 4
    kind = bytes(data[at : at + 2])
    if kind in _LONG:
        return kind, struct.unpack_from("<I", data, at + 4)[0], at + 8
    if kind not in _SHORT:
        raise ValueError("one of its elements has no type that DICOM knows")
    return kind, struct.unpack_from("<H", data, at + 2)[0], at + 4


def _sequence(
    data: mmap.mmap | bytes, at: int, end: int, length: int, implicit: bool, depth: int
) -> tuple[list[Items], int]:
    stop = end if length == _UNDEFINED else at + length
    if stop > end:
        raise ValueError("one of its sequences claims more bytes than there are")
    items: list[Items] = []
    while at + 8 <= stop:
        tag, size, at = _item(data, at)
        if tag == _END:
            return items, at
        last = stop if size == _UNDEFINED else at + size
        if last > stop:
            raise ValueError("an item of one of its sequences claims more bytes than there are")
        item, after = _data_set(data, at, last, implicit=implicit, depth=depth)
        items.append(item)
        at = after if size == _UNDEFINED else at + size
    return items, at if length == _UNDEFINED else stop


def _item(data: mmap.mmap | bytes, at: int) -> tuple[int, int, int]:
    group, element, size = struct.unpack_from("<HHI", data, at)
    tag = group << 16 | element
    if tag not in (_ITEM, _END):
        raise ValueError("a sequence holds something other than items")
    return tag, size, at + 8


def _fragments(data: mmap.mmap | bytes, at: int, end: int) -> int:
    """Return where compressed pixels end."""
    while at + 8 <= end:
        tag, size, at = _item(data, at)
        if tag == _END:
            return at
        if at + size > end:
            raise ValueError("its compressed pixels claim more bytes than there are")
        at += size
    raise ValueError("its compressed pixels have no end")
