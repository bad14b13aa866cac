"""Text files: packed, marked, in other encodings, with other line ends, and files that are none."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from multiseq.data import DataError, text_files
from multiseq.data.tables import open_table
from multiseq.data.text_files import check_encoding, lines_of, parse_json, suffix_of, text_of

TEXT = "né\nzwei\n"


def zipped(*members: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for number, member in enumerate(members):
            archive.writestr(f"folder/{number}.txt", member)
    return raw.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "zip": zipped}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_packed_files_are_known_by_their_content(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKERS[kind](TEXT.encode()))
    assert list(lines_of(path)) == ["né\n", "zwei\n"]
    path.write_text(TEXT, encoding="utf-8")  # a browser unpacks, and leaves the name
    assert text_of(path) == TEXT


@pytest.mark.parametrize("marked", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("said", ["utf-8", "latin-1", "utf-16"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, marked: str, said: str) -> None:
    path = tmp_path / "a.txt"
    mark = "\ufeff" if marked.endswith("e") else ""  # Python writes none with these
    path.write_bytes((mark + TEXT).encode(marked))
    assert text_of(path, said) == TEXT


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-7", "shift_jisx0213"])
def test_encodings_that_are_said(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode(encoding))
    assert text_of(path, encoding) == TEXT


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\rb\rc", ["a\n", "b\n", "c"]),  # an old Mac's
        ("a\r\nb\r\n", ["a\r\n", "b\r\n"]),
        ("a\rb\nc\n", ["a\rb\n", "c\n"]),  # a lone carriage return is part of a line
        ("a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d\n"]),
        ("", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_line_ends(tmp_path: Path, text: str, lines: list[str], encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert list(lines_of(path, encoding)) == lines


def test_old_line_ends_are_found_behind_a_long_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * 100_003 + b"\rb\r")
    assert [len(line) for line in lines_of(path)] == [100_004, 2]


@pytest.mark.parametrize(
    ("raw", "encoding", "message"),
    [
        (b"a\nb\xe9\nc", "utf-8", r"a\.txt:2: not utf-8 \(byte 3\).* encoding = \"latin-1\" .*--set"),
        (b"x" * 70_001 + b"\n\xe9x", "utf-8", r"a\.txt:2: not utf-8 \(byte 70002\)"),
        (b"a\xc3", "utf-8", r"a\.txt:1: not utf-8 \(cut off in the middle of a character\)"),
        ("\ufeffab".encode("utf-16-le")[:-1], "utf-8", r"a\.txt:1: not utf-16 .*as its byte order mark says"),
        (b"a\nb\0", "utf-8", r"a\.txt:2: got a NUL \(byte 3\), expected text in utf-8; UTF-16 .*utf-16-le"),
        ("a\nb".encode("utf-16-le"), "latin-1", r"a\.txt:1: got a NUL \(byte 1\)"),
        (b"a", "utf-9", r"a\.txt: got the encoding 'utf-9', expected utf-8, latin-1"),
        (gzip.compress(b"text", mtime=0)[:-9], "utf-8", r"a\.txt: cannot be read: "),
        (lzma.compress(b"text")[:-9], "utf-8", r"a\.txt: cannot be read: "),
        (zipped(b"text")[:-9], "utf-8", r"a\.txt: cannot be read: "),
        (lzma.compress(b"text") + b"\0\0\0\0more", "utf-8", r"a\.txt: cannot be read: "),
        (
            zipped(b"a", b"b"),
            "utf-8",
            r"a\.txt: got a zip archive of 2 files, expected one ",
        ),
        (zipped(), "utf-8", r"a\.txt: not utf-8|a\.txt:1: got a NUL"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, raw: bytes, encoding: str, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        text_of(path, encoding)


@pytest.mark.parametrize("name", ["none.txt", "a\0b"])
def test_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"no such file"):
        text_of(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["punycode", "idna", "unicode_escape", "undefined", "base64", "rot13", "a\0", ""]
)
def test_what_is_no_encoding_of_texts(name: str) -> None:
    with pytest.raises(ValueError, match=r"got the encoding .*, expected utf-8, latin-1"):
        check_encoding(name)


# --- sizes ----------------------------------------------------------------------------------------


def with_dictionary(packed: bytes, code: int) -> bytes:
    """An xz file whose first block asks for another dictionary: byte 16, in a header with a checksum."""
    header = bytearray(packed[12 : 12 + 4 * (packed[12] + 1)])
    assert header[2:4] == b"\x21\x01"  # one filter, LZMA2, with one byte of properties
    header[4] = code
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    return packed[:12] + bytes(header) + packed[12 + len(header) :]


def test_an_xz_file_has_a_limit_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    packed = lzma.compress(TEXT.encode())
    for code in (40, 38, 34):  # 4 GiB, 2 GiB, 512 MiB
        path.write_bytes(with_dictionary(packed, code))
        with pytest.raises(DataError, match=r"a\.txt: takes more than 256 MiB of memory to unpack; .* xz -9"):
            text_of(path)
    path.write_bytes(packed + b"\0" * 8 + with_dictionary(packed, 40))  # not the first one
    with pytest.raises(DataError, match=r"more than 256 MiB of memory"):
        text_of(path)
    path.write_bytes(with_dictionary(packed, 28))  # 64 MiB, what `xz -9` takes
    assert text_of(path) == TEXT
    path.write_bytes(with_dictionary(packed, 31))  # 192 MiB
    assert text_of(path) == TEXT


def test_several_xz_streams_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    content = "".join(f"line {i}\n" for i in range(30_011))
    packed = [lzma.compress(content[i : i + 70_001].encode()) for i in range(0, len(content), 70_001)]
    path.write_bytes(b"\0\0\0\0".join(packed) + b"\0" * 8)
    assert text_of(path) == content


def test_a_zip_archive_packed_by_lzma_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.txt", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(DataError, match=r"a\.txt: got a zip archive packed by LZMA, expected"):
        text_of(tmp_path / "a.txt")


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_file_has_a_limit_that_an_option_lifts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(PACKERS[kind](b"a\n" * 2**20))
    assert len(text_of(path)) == 2**21  # small files have none
    assert len(text_of(path, unpack_limit=3)) == 2**21
    with pytest.raises(DataError, match=r"a\.txt: unpacks to more than 1 MiB; .*unpack_limit = 0"):
        text_of(path, unpack_limit=1)
    monkeypatch.setattr(text_files, "SMALL", 0)
    if kind != "zip":  # in which the text of the test is not packed
        with pytest.raises(DataError, match=r"a\.txt: unpacks to more than 0 MiB"):
            text_of(path)
    assert len(text_of(path, unpack_limit=0)) == 2**21


def test_texts_that_shrink_as_texts_do_have_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "SMALL", 0)
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(os.urandom(2000).hex().encode()))
    assert len(text_of(path)) == 4000


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(gzip.compress(b"a\n\xff\n"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(7):
        with pytest.raises(DataError):
            text_of(path)
        next(lines_of(path, "latin-1"))
    assert not before or len(os.listdir("/proc/self/fd")) <= before + 1


# --- names and JSON -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("A.CSV", ".csv"),
        ("a.csv.GZ", ".csv"),
        ("a.b.Jsonl.xz", ".jsonl"),
        ("a.gz", ""),
        ("a.tar.zip", ".tar"),
    ],
)
def test_what_a_name_says(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix_of(Path("folder.x", name)) == suffix


def test_json_that_is_nested_too_deeply() -> None:
    assert parse_json("[" * 100 + "]" * 100)
    assert parse_json('"' + "[" * 5000 + '"') == "[" * 5000
    assert len(parse_json("[" + "[]," * 5000 + "[]]")) == 5001
    for depth in (101, 900, 5000, 200_000):
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            with pytest.raises(ValueError, match="nested more than 100 deep"):
                parse_json(text)


def test_utf_8_that_is_read_as_another_encoding_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Tür\nzwei\n".encode())
    with pytest.warns(UserWarning, match=r"a\.txt: is read as latin-1, but its bytes are UTF-8; if ü looks"):
        assert text_of(path, "latin-1") == "TÃ¼r\nzwei\n"
    for raw in (b"plain\n", "Tür\n".encode("latin-1")):  # pytest makes an error of a warning
        path.write_bytes(raw)
        assert text_of(path, "latin-1") == raw.decode("latin-1")


def test_a_file_that_is_not_there_has_a_neighbour_of_a_similar_name(tmp_path: Path) -> None:
    (tmp_path / "tweets small.csv").touch()
    with pytest.raises(DataError, match=r"smal\.csv: no such file \(did you mean 'tweets small\.csv'\?\)"):
        text_of(tmp_path / "tweets smal.csv")
    with pytest.raises(DataError, match=r"a\.csv: no such file$"):
        text_of(tmp_path / "nowhere" / "a.csv")
    for name in ("reviews.toml", "notoml.toml"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"reviews\.csv: no such file$"):  # a recipe is no data
        text_of(tmp_path / "reviews.csv")
    with pytest.raises(DataError, match=r"doesnotexist\.toml: no such file$"):  # alike is only the ending
        text_of(tmp_path / "doesnotexist.toml")
    with pytest.raises(DataError, match=r"review\.toml: no such file \(did you mean 'reviews\.toml'\?\)$"):
        text_of(tmp_path / "review.toml")
    for name in ("folder", "folder.parquet"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=rf"{name}: is a folder, expected a file$"):
            open_table(tmp_path / name)
