"""DICOM series by SimpleITK, and enhanced (multi-frame) files byte by byte, which SimpleITK does not write."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def element(tag: int, kind: bytes, value: bytes) -> bytes:
    """Return a DICOM element in explicit little endian."""
    long = kind in (b"SQ", b"OW", b"OB")
    value += b" " * (len(value) % 2)
    size = struct.pack("<2xI" if long else "<H", len(value))
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + size + value


def items(tag: int, *contents: bytes) -> bytes:
    """Return a sequence of items."""
    packed = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content for content in contents)
    return element(tag, b"SQ", packed)


def write_enhanced(
    path: Path, volume: np.ndarray, order: list[int], slopes: tuple[str, ...] = (), step: float = 2.0, gap: int = -1,
    reference: str = "",
) -> None:  # fmt: skip
    """Write slices ``volume[k]`` as the frames of one enhanced MR file, in an order; ``step`` mm apart.

    ``reference`` is its frame of reference.
    """
    pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")
    kind, syntax = b"1.2.840.10008.5.1.4.1.1.4.1\0", b"1.2.840.10008.1.2.1\0"
    meta = element(0x00020001, b"OB", b"\0\1") + element(0x00020002, b"UI", kind)
    meta += element(0x00020003, b"UI", b"1.2.3.9\0") + element(0x00020010, b"UI", syntax)
    data = bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta
    for tag, name, value in (
        (0x00080008, b"CS", b"ORIGINAL\\PRIMARY"), (0x00080016, b"UI", kind), (0x00080018, b"UI", b"1.2.3.9\0"),
        (0x00080060, b"CS", b"MR"), (0x0020000D, b"UI", b"1.2.3\0"), (0x0020000E, b"UI", b"1.2.4\0"),
    ):  # fmt: skip
        data += element(tag, name, value)
    if reference:
        data += element(0x00200052, b"UI", reference.encode() + bytes(len(reference) % 2))
    rows, columns = volume.shape[1:]
    data += element(0x00280002, b"US", struct.pack("<H", 1)) + element(0x00280004, b"CS", b"MONOCHROME2")
    data += element(0x00280008, b"IS", str(len(order)).encode())
    for tag, number in ((0x00280010, rows), (0x00280011, columns), (0x00280100, 16), (0x00280101, 16),
                        (0x00280102, 15), (0x00280103, 0)):  # fmt: skip
        data += element(tag, b"US", struct.pack("<H", number))
    shared = items(0x00209116, element(0x00200037, b"DS", b"1\\0\\0\\0\\1\\0"))
    shared += items(0x00289110, element(0x00180050, b"DS", b"2") + element(0x00280030, b"DS", b"1.5\\0.5"))
    frames = []
    for place, k in enumerate(order):
        height = step * (k + (k > gap >= 0))
        own = items(0x00209113, element(0x00200032, b"DS", f"-20\\-30\\{height:g}".encode()))
        if slopes:
            rescale = element(0x00281052, b"DS", b"0") + element(0x00281053, b"DS", slopes[place].encode())
            own += items(0x00289145, rescale)
        frames.append(own)
    data += items(0x52009229, shared) + items(0x52009230, *frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data + element(0x7FE00010, b"OW", volume[order].astype("<u2").tobytes()))


LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(
    image: Any, folder: Path, uid: str, start: int = 0, shift: float = 0.0, lean: float = 0.0, turn: bool = False,
    jump: float = 0.0, more: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Write a NIfTI image as one DICOM file per slice, shifted upwards by ``shift`` mm.

    Each slice is shifted sideways by ``lean`` mm against the one below, and every second one by ``jump``.
    """
    itk = pytest.importorskip("SimpleITK", reason="needs the extra dicom (SimpleITK)")
    affine = LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    array = np.asarray(image.dataobj).astype(np.int16)
    writer = itk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(array.shape[2]):
        one = itk.GetImageFromArray(array[:, :, k].T)
        one.SetSpacing([float(spacing[0]), float(spacing[1])])
        position = affine[:3, :3] @ (0, 0, k) + affine[:3, 3] + direction @ (k * lean + k % 2 * jump, 0, shift)
        tags = {
            "0008|0060": "MR", "0020|000e": uid, "0020|000d": "1.2.3", "0008|0018": f"{uid}.{start + k + 1}",
            "0020|0032": "\\".join(f"{v:.6f}" for v in position), "0020|0013": str(start + k + 1),
            "0020|0037": "\\".join(f"{v:.6f}" for v in direction[:, [1, 2] if turn else [0, 1]].T.ravel()),
            "0018|0050": f"{spacing[2]:.6f}", "0018|0088": f"{spacing[2]:.6f}",
        }  # fmt: skip
        for tag, value in (tags | (more or {})).items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{start + k:03d}.dcm"))
        writer.Execute(one)


def text(value: str, kind: bytes = b"DS") -> tuple[bytes, bytes]:
    """Return type and bytes of a text value."""
    return kind, value.encode()


def short(value: int) -> tuple[bytes, bytes]:
    """Return type and bytes of an unsigned short."""
    return b"US", struct.pack("<H", value)


def write_slice(
    path: Path, picture: np.ndarray, height: float = 0.0, more: dict[int, tuple[bytes, bytes] | None] | None = None,
    *, preamble: bool = True, implicit: bool = False,
) -> None:  # fmt: skip
    """Write a picture as one classic MR file, byte by byte, ``height`` mm up.

    Args:
        path: The file.
        picture: ``rows columns`` of 16 or 32 bits, signed or not.
        height: Its position.
        more: Elements by tag that are written in addition or instead; ``None`` leaves one out, the type ``b"as is"``
            writes the bytes without a head.
        preamble: Whether it begins with 128 bytes, ``DICM`` and the meta header.
        implicit: Whether the data set is in implicit VR.
    """
    kind, bits = b"1.2.840.10008.5.1.4.1.1.4\0", picture.dtype.itemsize * 8
    elements: dict[int, tuple[bytes, bytes] | None] = {
        0x00080016: (b"UI", kind), 0x00080018: (b"UI", f"1.2.{int(height * 10) + 1}".encode()),
        0x00080060: text("MR", b"CS"), 0x00180050: text("4"), 0x0020000D: (b"UI", b"1.2.3\0"),
        0x0020000E: (b"UI", b"1.2.4\0"), 0x00200032: text(f"-20\\-30\\{height:g}"),
        0x00200037: text("1\\0\\0\\0\\1\\0"), 0x00280002: short(1), 0x00280004: text("MONOCHROME2", b"CS"),
        0x00280010: short(picture.shape[0]), 0x00280011: short(picture.shape[1]), 0x00280030: text("1.5\\0.5"),
        0x00280100: short(bits), 0x00280101: short(bits), 0x00280102: short(bits - 1),
        0x00280103: short(int(picture.dtype.kind == "i")), 0x7FE00010: (b"OW", picture.tobytes()),
    }  # fmt: skip
    body = b""
    for tag, found in sorted((elements | (more or {})).items()):
        if found is None:
            continue
        name, value = found
        if name == b"as is":
            body += value
        elif implicit:
            value += b" " * (len(value) % 2)
            body += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
        else:
            body += element(tag, name, value)
    syntax = b"1.2.840.10008.1.2\0" if implicit else b"1.2.840.10008.1.2.1\0"
    meta = element(0x00020001, b"OB", b"\0\1") + element(0x00020002, b"UI", kind)
    meta += element(0x00020003, b"UI", b"1.2.3.9\0") + element(0x00020010, b"UI", syntax)
    head = bytes(128) + b"DICM" + element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((head if preamble else b"") + body)
