"""Tables: what is in a cell is what is read, in every kind of file."""

from __future__ import annotations

import gzip
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from multiseq.data import DataError
from multiseq.data.readers import read_table
from multiseq.data.tables import ROWS, open_table
from multiseq.requires import MissingLibraryError


def rows_of(path: Path, **options: Any) -> list[list[Any]]:
    """The names of the columns, and the rows with the line of each."""
    table = open_table(path, **options)
    return [table.names, *([line, *row.values()] for line, row in table.rows())]


CELLS = [["007", "1.0"], ["NA", "null"], [" a ", "1e3"], ["True", "-0"]]


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.Csv.GZ", "a.tsv", "a.TXT"])
def test_cells_stay_as_they_are_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    separator = "," if ".csv" in name.lower() else "\t"
    raw = "".join(separator.join(row) + "\n" for row in [["text", "label"], *CELLS]).encode()
    path.write_bytes(gzip.compress(raw) if name.endswith("GZ") else raw)
    assert rows_of(path) == [["text", "label"], *([i, *row] for i, row in enumerate(CELLS, 2))]


@pytest.mark.parametrize(
    ("name", "header", "options"),
    [
        ("a.csv", "text;label", {}),
        ("a.csv", "text\tlabel", {}),
        ("a.csv", "text|label", {}),
        ("a.csv", '"text"; label ', {}),
        ("a.csv", '"a, b";label', {}),
        ("a.csv", "text:label", {"separator": ":"}),
        ("a.txt", "text;label", {"separator": ";"}),
        ("a.tsv", "text\tlabel", {"separator": "\t"}),
    ],
)
def test_separators_are_found_or_said(
    tmp_path: Path, name: str, header: str, options: dict[str, Any]
) -> None:
    between = next(s for s in ";\t|:" if s in header)
    path = tmp_path / name
    path.write_text(f'{header}\n"a, ""b""\nc"{between}1\nd{between}2\n')
    assert [row[-1] for row in rows_of(path, **options)] == ["label", "1", "2"]
    assert [row[1] for row in rows_of(path, **options)[1:]] == ['a, "b"\nc', "d"]
    assert [row[0] for row in rows_of(path, **options)[1:]] == [2, 4]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_cells_over_several_lines(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(end.join(["text,label", '"a', 'b",1', "", "c,2", ",", ""]).encode())
    found = rows_of(path)
    assert [row[0] for row in found[1:]] == [2, 5]
    assert [row[1] for row in found[1:]] == ["a\r\nb" if end == "\r\n" else "a\nb", "c"]


def test_rows_without_any_cell_are_none(tmp_path: Path) -> None:
    for name, between in (("a.csv", ","), ("a.tsv", "\t")):
        path = tmp_path / name
        path.write_text(f"text,label\na,1\n,\n\nb,\n,2\n{',' * 1}\n\n".replace(",", between))
        assert rows_of(path)[1:] == [[2, "a", "1"], [5, "b", ""], [6, "", "2"]]


def test_lines_are_right_in_the_middle_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    number = 2 * ROWS + 101
    lines = ["text,label", *(f"t{i},{i}" for i in range(number))]
    lines[ROWS + 7] = '"two\nlines",x'
    path.write_text("\n".join(lines) + "\n")
    found = rows_of(path)
    assert len(found) == number + 1
    assert [found[i][0] for i in (1, ROWS + 7, ROWS + 8, -1)] == [2, ROWS + 8, ROWS + 10, number + 2]
    for row, message in (
        ("a,b,c", "got 3 cells, expected 2"),
        ('a,"b', "not valid CSV"),
        ('"a"b,c', "not valid CSV"),
    ):
        path.write_text("\n".join([*lines[: 2 * ROWS], row, *lines[2 * ROWS :]]) + "\n")
        with pytest.raises(DataError, match=rf"a\.csv:{2 * ROWS + 2}: {message}"):
            rows_of(path)


def test_equal_cells_are_one_string_and_empty_ones_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    number = 5003  # more than are looked for among equal ones
    path.write_text("text,label,id\n" + "".join(f"same text,very good,{i or ''}\n" for i in range(number)))
    records = read_table(path)
    assert len({id(item) for item in records.items}) == 1
    assert len({id(label) for label in records.column("label")}) == 1
    assert records.column("id") == [None, *map(str, range(1, number))]
    assert records.locations[number - 1] == f"{path}:{number + 1}"
    assert records.locations[-2:] == [f"{path}:{number}", f"{path}:{number + 1}"]


def test_blanks_around_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(" text, label \na, b\n")
    assert read_table(path).columns == {"label": [" b"]}
    path.write_text("text, label,label\n")
    with pytest.raises(DataError, match=r"a\.csv:1: got two columns 'label'"):
        read_table(path)


# --- Parquet and Excel ----------------------------------------------------------------------------


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "A.Parquet"
    columns = {
        "text": ["007", None, "NA"],
        " n": [1, None, 3],
        "x": [1.0, 2.5, None],
        "b": [True, False, None],
    }
    table = pa.table({**columns, "words": [["a", "b"], [], None], "day": [date(2026, 1, 2)] * 3})
    pq.write_table(table, path)
    assert rows_of(path) == [
        ["text", "n", "x", "b", "words", "day"],
        [1, "007", "1", "1.0", "True", ["a", "b"], "2026-01-02"],
        [2, "", "", "2.5", "False", [], "2026-01-02"],
        [3, "NA", "3", "", "", "", "2026-01-02"],
    ]
    records = read_table(path, input="words")
    assert records.items == [["a", "b"], [], ""]
    assert records.column("n") == ["1", None, "3"]
    pq.write_table(pa.table({"text": [str(i) for i in range(ROWS + 7)]}), path)
    assert [row[0] for row in rows_of(path)[1:]] == list(range(1, ROWS + 8))


def test_excel(tmp_path: Path) -> None:
    path = tmp_path / "a.XLSX"
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["text", " label", None], ["007", 7], [None, 1.5], [None, None], ["x", True], ["y"]):
        sheet.append(row)
    book.create_sheet("empty")
    book.save(path)
    assert rows_of(path) == [
        ["text", "label"],
        [2, "007", "7"],
        [3, "", "1.5"],
        [5, "x", "True"],
        [6, "y", ""],
    ]
    sheet.append(["a", "b", "c"])
    book.save(path)
    with pytest.raises(DataError, match=r"a\.XLSX:7: got 3 cells, expected 2 as in the header"):
        rows_of(path)
    book["empty"].append(["text"])
    book.save(path)
    said = r'a\.XLSX: got 2 sheets \(Sheet, empty\), expected one; choose it with sheet = "Sheet" '
    said += "in a recipe, or --set sheet=Sheet for `multiseq predict`$"
    with pytest.raises(DataError, match=said):
        rows_of(path)
    assert rows_of(path, sheet="empty") == [["text"]]
    with pytest.raises(DataError, match=r"a\.XLSX: no sheet 'Empty' \(did you mean 'empty'\?\)"):
        rows_of(path, sheet="Empty")


@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx"])
def test_mistakes_in_other_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        rows_of(path)
    kind = {"a.parquet": "Parquet", "a.xlsx": "Excel"}[name]
    for raw in (b"", b"text,label\n", b"PAR1" + bytes(99) + b"PAR1", b"PK\x03\x04" + bytes(99)):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=rf"{name}: cannot be read as {kind}: "):
            rows_of(path)
    with zipfile.ZipFile(path, "w") as archive:  # of Excel's kind, and not of its form
        archive.writestr("[Content_Types].xml", "<")
    with pytest.raises(DataError, match=rf"{name}: cannot be read as {kind}: "):
        rows_of(path)
    for library in ("pyarrow", "pyarrow.parquet", "openpyxl"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'multiseq\[tables\]'"):
        rows_of(path)


def test_other_tables_have_a_limit_too(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i:07d}" * 20 for i in range(20_000)]
    pq.write_table(pa.table({"text": texts}), path, compression="zstd")
    with pytest.raises(DataError, match=r"a\.parquet: unpacks to more than 1 MiB"):
        rows_of(path, unpack_limit=1)
    assert len(rows_of(path)) == 20_001


# --- separators, quotes and blanks as people have them ---------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "text;stars\nfine, really, good;5\nno, never;1\n", ["fine, really, good", "no, never"]),
        ("a.csv", "text;price, EUR\nfine;3,5\nno;4,0\n", ["fine", "no"]),
        ("a.csv", "text,a;b\nfine,1\nno,2\n", ["fine", "no"]),
        ("a.csv", 'text\nHello, world\n"a; b"\n', ["Hello, world", "a; b"]),
        ("a.csv", 'text, label\n"a, b", x\nc, y\n', ["a, b", "c"]),
        ("a.csv", 'label, text\nx, "a, b"\ny, "c"\n', None),
        ("a.csv", 'text,label\n"two\nlines; one cell",x\nb,y\n', ["two\nlines; one cell", "b"]),
        ("A.TXT", "text|label\na, b|x\nc|y\n", ["a, b", "c"]),
        ("a.txt", 'text,label\n"a, b",x\nc,y\n', ["a, b", "c"]),
        ("a.txt", 'text\tlabel\n"a, b\tx\nc"\ty\n', ['"a, b', 'c"']),
        ("a.tsv", '"text"\t"label"\n"a ""b"""\t"x"\n"c"\t"y"\n', ['a "b"', "c"]),
        ("a.tsv", "text\na, b\nc;d\n", ["a, b", "c;d"]),
    ],
)
def test_separators_are_found_by_header_and_rows(
    tmp_path: Path, name: str, text: str, rows: list[str] | None
) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = read_table(path)
    assert found.items == (rows or ["a, b", "c"])
    assert all(len(column) == 2 for column in found.columns.values())


def test_quotes_in_a_table_with_tabs_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"a\tb"\tx\n')
    with pytest.raises(
        DataError, match=r"a\.tsv:2: got 3 cells, .*; if quotes enclose cells, give separator = "
    ):
        read_table(path)
    assert read_table(path, separator="\t").items == ["a\tb"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", ["", "gz", "zip"])
def test_a_table_as_excel_writes_it(tmp_path: Path, encoding: str, end: str, packed: str) -> None:
    raw = end.join([" text ;label", '"caf\u00e9; ""no"""; x', "b;y", ""]).encode(encoding)
    path = tmp_path / f"A.CSV{'.' * bool(packed)}{packed}"
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/a.csv", raw)
            archive.writestr("__MACOSX/folder/._a.csv", b"\0\1")
    else:
        path.write_bytes(gzip.compress(raw) if packed else raw)
    records = read_table(path)
    assert (records.items, records.columns) == (['caf\u00e9; "no"', "b"], {"label": [" x", "y"]})


def test_bad_rows_of_a_table_are_rejected_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    num = 2 * ROWS + 11
    lines = ["text,label", *(f"t{i},{i}" for i in range(num))]
    bad = {5: "a,b,c", ROWS + 3: '"a"b,c', ROWS + 4: '"a"b,d', ROWS + 5: "x", num: '"q\nr"'}
    for line, row in bad.items():
        lines[line - 1] = row
    path.write_text("\n".join(lines) + "\n")
    rejected = []
    records = read_table(path, reject=lambda location, reason, raw: rejected.append((location, raw)))
    assert sorted(int(location.rpartition(":")[2]) for location, _ in rejected) == list(bad)
    assert {raw for _, raw in rejected} == {"a,b,c", "", "x", "q\nr"}
    kept = [i for i in range(num) if i + 2 not in bad]
    assert records.items == [f"t{i}" for i in kept]
    after = [i + 2 + (i + 2 > num) for i in kept]  # one bad row has two lines
    assert [int(place.rpartition(":")[2]) for place in records.locations] == after


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;", "sep=|", "sep=\t", "sep=,"])
@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
def test_a_first_line_can_name_the_separator(tmp_path: Path, name: str, first: str) -> None:
    path, between = tmp_path / name, first.strip('"')[-1]
    lines = [first, f"note, long{between}label" if between != "," else "note,label"]
    lines += [f'"a{between}\nb"{between}1', f"c{between}2{between}3", *[f"d{between}4"] * (ROWS + 2)]
    path.write_bytes("\r\n".join(lines).encode())
    rejected: list[str] = []
    names, *rows = rows_of(path, reject=lambda location, *_: rejected.append(location))
    assert names == lines[1].split(between)
    assert [row[0] for row in rows] == [3, *range(6, 6 + ROWS + 2)]
    assert rows[:2] == [[3, f"a{between}\nb", "1"], [6, "d", "4"]]
    assert rejected == [f"{path}:5"]
