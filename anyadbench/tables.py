"""Tables and texts that a person hands over: from any spreadsheet, in any encoding; and the cells of those we write."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyadbench.errors import UserError

MAX_BYTES = 256 << 20
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_DELIMITERS = ",;\t|"
_PACKED = {b"PK\x03\x04": "an Excel or OpenDocument workbook", b"\xd0\xcf\x11\xe0": "an old Excel workbook",
           b"\x1f\x8b": "packed by gzip"}  # fmt: skip
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


def decode(data: bytes) -> str:
    """Return text in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark, or else in Windows' Latin encoding.

    Raises:
        ValueError: If it holds the character 0, as no text does.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and len(data) > 1 and len(data) % 2 == 0 and b"\0" in data[:64]:
        # Without a mark: in Latin text every other byte of UTF-16 is 0.
        encoding = "utf-16-le" if data[:64:2].count(0) < data[1:64:2].count(0) else "utf-16-be"
    for name in (encoding,) if encoding else ("utf-8", "cp1252", "latin-1"):
        try:
            text = data.decode(name)
            break
        except UnicodeDecodeError as error:
            if encoding:
                raise ValueError(f"not {name}: {error.reason}") from None
    if "\0" in text:
        raise ValueError("it holds the character 0")
    return text


def read_text(path: Path) -> str:
    """Read a text file that a person wrote; see ``decode``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
    return decode(path.read_bytes())


@dataclass(frozen=True)
class Line:
    """One line of a table below its header.

    Attributes:
        number: Number of its line in the file, from 1; a quoted field may span several.
        cells: Its cells by column, without the white space around them.
    """

    number: int
    cells: Mapping[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """All its cells: two lines with one key say the same."""
        return tuple(self.cells.values())


@dataclass(frozen=True)
class Table:
    """A table as read: named columns in lower case, and the lines that are not blank."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def read_table(path: Path, what: str, fix: str) -> Table:
    """Read a table with a header, separated by commas, semicolons, tabs or bars.

    Case and white space in the header, blank lines, blank columns, and Excel's first line ``sep=;`` do not matter.

    Args:
        path: The file.
        what: How sentences name it, such as ``--table t.csv``.
        fix: What to do, in the imperative.

    Raises:
        UserError: If it is not a table, two columns have one name, or a line has more cells than the header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
        kind = next((name for mark, name in _PACKED.items() if start.startswith(mark)), "")
        if kind:
            raise UserError(f"{what} is {kind}, not a table as text; save it as CSV.")
        rows = _rows(*_dialect(read_text(path)))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{what} cannot be read ({_reason(error)}); {fix}.") from None
    rows = [(number, cells) for number, cells in rows if any(cells)]
    if not rows:
        raise UserError(f"{what} is empty; {fix}.")
    columns = [name.casefold() for name in rows[0][1]]
    while columns and not columns[-1]:
        columns.pop()
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{what} has several columns {twice!r}; keep one.")
    lines = tuple(_line(what, number, columns, cells) for number, cells in rows[1:])
    return Table(tuple(name for name in columns if name), lines)


def _rows(delimiter: str, skip: int, text: str) -> list[tuple[int, list[str]]]:
    """Return each row with the number of its first line.

    Raises:
        csv.Error: If a quote is not closed.
    """
    for strict in (True, False):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict, skipinitialspace=True)
        rows, before = [], skip
        try:
            for row in reader:
                rows.append((before + 1, [cell.strip().strip("\ufeff\u200b") for cell in row]))
                before = skip + reader.line_num
        except csv.Error as error:
            if "expected after" not in str(error):  # a space after a quote, or a quote inside a cell, is no fault
                raise
            continue
        break
    return rows


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _line(what: str, number: int, columns: Sequence[str], cells: Sequence[str]) -> Line:
    nameless = [cell for name, cell in zip(columns, cells, strict=False) if not name]
    if any(cells[len(columns) :]) or any(nameless):
        raise UserError(
            f"{what}, line {number}, has a cell below no column name; correct that line, or quote cells that hold the "
            "separator."
        )
    padded = [*cells, *[""] * (len(columns) - len(cells))]
    return Line(number, {name: cell for name, cell in zip(columns, padded, strict=False) if name})


def _dialect(text: str) -> tuple[str, int, str]:
    """Return the separator, the number of lines before the header, and the text from the header on."""
    skip = 0
    while (first := text.partition("\n")[0]) != text and not first.strip(" \t\r,;|"):
        text, skip = text[len(first) + 1 :], skip + 1
    if named := re.fullmatch(r"\"?sep=(.)\"?", first.strip("\r\n "), re.IGNORECASE):
        return named[1], skip + 1, text[len(first) + 1 :]
    outside = re.sub(r'"[^"]*"', "", first)
    return max(_DELIMITERS, key=lambda mark: (outside.count(mark), -_DELIMITERS.index(mark))), skip, text


def number(text: str) -> float:
    """Return a number with a decimal point or comma.

    Raises:
        ValueError: If it is none, or a comma in it may separate thousands.
    """
    text = text.replace("\u00a0", "").replace("\u2212", "-").strip()
    if "," in text:
        if "." in text or (_GROUPED.fullmatch(text) and not text.lstrip("+-").startswith("0")):
            raise ValueError(f"the comma in {text!r} may be a decimal one or separate thousands")
        text = text.replace(",", ".", 1)
    if "_" in text or not text.isascii():
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def whole(text: str) -> int:
    """Return a whole number, also if a spreadsheet gave it decimals, such as ``12.0``.

    Raises:
        ValueError: If it is none.
    """
    value = number(text)
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)


def guarded(text: str) -> str:
    """Return a text cell that no spreadsheet takes for a formula: one that begins like it gets an apostrophe."""
    return f"'{text}" if _formula(text) else text


def unguarded(text: str) -> str:
    """Undo ``guarded``."""
    return text[1:] if text.startswith("'") and _formula(text[1:]) else text


def _formula(text: str) -> bool:
    return text.lstrip("'").startswith(("=", "+", "-", "@", "\t", "\r"))
