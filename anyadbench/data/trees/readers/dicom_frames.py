"""Where the frames of an enhanced (multi-frame) DICOM file lie: its functional groups, which SimpleITK does not give.

Source: DICOM PS3.3, section C.7.6.16 (functional groups).
"""

from __future__ import annotations

from dataclasses import dataclass

from anyadbench.data.trees.readers.dicom_header import Header, Items

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_POSITION, _ORIENTATION, _MEASURES, _RESCALE = 0x00209113, 0x00209116, 0x00289110, 0x00289145


@dataclass(frozen=True)
class Frame:
    """One frame of a multi-frame file, with its attributes as stored; empty where they are missing."""

    position: str
    orientation: str
    spacing: str
    thickness: str
    slope: str
    intercept: str


def frames_of(header: Header) -> list[Frame]:
    """Return the frames of an enhanced DICOM file in the order of its pixels; empty if it is not one."""
    shared = header.items.get(_SHARED) or [{}]
    frames = header.items.get(_PER_FRAME) or []
    if not isinstance(frames, list) or not isinstance(shared, list):
        return []
    return [_frame(own, shared[0]) for own in frames]


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
        value(_MEASURES, 0x00180050),
        value(_RESCALE, 0x00281053),
        value(_RESCALE, 0x00281052),
    )
