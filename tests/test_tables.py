"""Tables of any spreadsheet, texts in any encoding, and cells that no spreadsheet takes for formulas."""

from __future__ import annotations

from pathlib import Path

import pytest

from anyadbench.errors import UserError
from anyadbench.tables import Table, decode, guarded, number, read_table, unguarded, whole

TEXT = "Scan,Slice,Score\nMüller 1,3,0.5\nGroß,4,-2e-3\n"
ROWS = [("Müller 1", "3", "0.5"), ("Groß", "4", "-2e-3")]


def read(path: Path, data: bytes) -> Table:
    path = path / "t.csv"
    path.write_bytes(data)
    return read_table(path, str(path), "correct it")


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_encoding_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    table = read(tmp_path, TEXT.replace("\n", end).encode(encoding))
    assert table.columns == ("scan", "slice", "score")
    assert [line.key for line in table.lines] == ROWS and [line.number for line in table.lines] == [2, 3]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n", "\r\n;;\r\n"])
def test_any_separator(tmp_path: Path, delimiter: str, first: str) -> None:
    table = read(tmp_path, (first.format(delimiter) + TEXT.replace(",", delimiter)).encode())
    assert [line.key for line in table.lines] == ROWS


def test_quotes_padding_blank_rows_and_blank_columns(tmp_path: Path) -> None:
    data = (
        b' "Scan" ; SLICE;score ;;\r\n"a;b" ; 3 ;"0,5";;\r\n;;;;\r\n\r\nc;4;1\r\n"d\r\ne";5;2;;\r\nf;6;3;;\r\n;;;;\r\n'
    )
    table = read(tmp_path, data)
    assert table.columns == ("scan", "slice", "score")
    assert [line.key for line in table.lines][:2] == [("a;b", "3", "0,5"), ("c", "4", "1")]
    assert [line.number for line in table.lines] == [2, 5, 6, 8]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is empty; correct it."),
        (b"\xef\xbb\xbf\r\n;;\r\n", "is empty; correct it."),
        (b"PK\x03\x04sheet", "is an Excel or OpenDocument workbook, not a table as text; save it as CSV."),
        (b"\xd0\xcf\x11\xe0book", "is an old Excel workbook, not a table as text; save it as CSV."),
        (b"a,A \n1,2\n", "has several columns 'a'; keep one."),
        (b"a,b\n1,2,3\n", "line 2, has a cell below no column name; correct that line"),
        (b"a,,b\n1,2,3\n", "line 2, has a cell below no column name; correct that line"),
        (b'a,b\n"1,2\n', "cannot be read (unexpected end of data); correct it."),
        (b"a,b\n1,\0\n\0", "cannot be read (it holds the character 0); correct it."),
        (b"\xff\xfea", "cannot be read (not utf-16: truncated data); correct it."),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "cannot be read (field larger than field limit"),
    ],
)
def test_what_is_no_table_is_one_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, data)
    assert sentence in str(caught.value) and str(tmp_path / "t.csv") in str(caught.value)


def test_a_missing_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv cannot be read \(No such file or directory\); correct it"):
        read_table(tmp_path / "none.csv", "none.csv", "correct it")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("0,5", 0.5),
        ("-1,25", -1.25),
        ("1e-3", 1e-3),
        ("\u22122", -2),
        ("1\u00a0000,5", 1000.5),
        ("0,125", 0.125),
    ],
)
def test_numbers_with_a_point_or_a_comma(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1.234,5", "1,234", "1,2,3", "1_000", "٣", "0x10"])
def test_what_is_no_number_or_may_be_two(text: str) -> None:
    with pytest.raises(ValueError):
        number(text)


def test_whole_numbers_may_have_decimals_that_are_0() -> None:
    assert [whole(text) for text in ("12", "12.0", "12,0")] == [12] * 3
    for text in ("12.5", "nan", "inf"):
        with pytest.raises(ValueError, match="is not a whole number"):
            whole(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=x", "''=x"])
def test_formulas_are_guarded_and_come_back(text: str) -> None:
    assert guarded(text) == f"'{text}" and unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "plain", "'quoted", "a=b", "'"])
def test_other_text_stays(text: str) -> None:
    assert guarded(text) == text and unguarded(text) == text


def test_text_without_a_mark_is_recognised() -> None:
    assert decode("name = 1".encode("utf-16-le")) == "name = 1"
    assert decode(b"caf\xe9 \x80") == "café €" and decode(b"\x81") == "\x81"
