"""CSV is read exactly as it is written, or refused at its record; nothing is guessed."""

from __future__ import annotations

import bz2
import csv
import gzip
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanlake.text import csv_records
from spanlake.text.csv_records import CsvFault, CsvReader, Dialect

FIELD = st.text(st.sampled_from("ab \",;\\'\r\n\t|\x00\u00e9\U0001f600"), max_size=8)
PLAIN = Dialect()
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=6)


def read(data, dialect=PLAIN, encoding="utf-8"):
    reader = CsvReader(io.BytesIO(data), encoding, dialect)
    return [reader.header, *reader]


def written(rows, **options):
    out = io.StringIO(newline="")
    csv.writer(out, **options).writerows(rows)
    return out.getvalue()


@given(ROWS, st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["\n", "\r\n", "\r"]))
@example([("", "", "")], ",", "\n")
def test_what_a_writer_quotes_comes_back(rows, delimiter, end):
    text = written(
        [("x", "y", "z"), *rows],
        delimiter=delimiter,
        lineterminator=end,
        quoting=csv.QUOTE_ALL,
    )
    assert read(text.encode(), Dialect(delimiter))[1:] == [list(row) for row in rows]


@given(ROWS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]))
def test_any_block_size_and_encoding_gives_the_same(rows, encoding):
    text = written([("x", "y", "z"), *rows], quoting=csv.QUOTE_ALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK", 1)
        found = read(text.encode(encoding), encoding=encoding)
    assert found == [["x", "y", "z"], *map(list, rows)]


@given(ROWS)
def test_minimal_quoting_comes_back_with_nulls_for_nothing(rows):
    rows = [(*row, ".") for row in rows]  # CR LF at the end of a record is a line end
    text = written([("x", "y", "z", "end"), *rows], lineterminator="\n")
    assert read(text.encode())[1:] == [[field or None for field in row] for row in rows]


@given(ROWS)
def test_quotes_and_escapes_behind_a_backslash_come_back(rows):
    text = written(
        [("x", "y", "z"), *rows], doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL
    )
    assert read(text.encode(), Dialect(escape="\\"))[1:] == [list(row) for row in rows]


def test_an_empty_text_between_quotes_is_no_null():
    assert read(b'a,b\n1,""\n2,\n') == [["a", "b"], ["1", ""], ["2", None]]


def test_blank_lines_and_a_mark_are_skipped_and_line_ends_of_any_kind_end_records():
    found = read(b'\xef\xbb\xbf\r\na, b\r\r\n1,"x\r\ny\rz"\n  \n2,c')
    assert found == [["a", "b"], ["1", "x\r\ny\rz"], ["2", "c"]]


def test_a_cr_alone_is_text_unless_the_header_ends_so():
    assert read(b"a,b\n1,x\ry\n") == [["a", "b"], ["1", "x\ry"]]
    assert read(b"a,b\r1,x\r2,y") == [["a", "b"], ["1", "x"], ["2", "y"]]


def test_quotes_are_characters_where_a_file_quotes_nothing():
    found = read(b'a\tb\n1\t5" needle\n', Dialect("\t", quote=None))
    assert found == [["a", "b"], ["1", '5" needle']]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('a,b\n1,"x"\n2,"y\n3,z\n', r"^record 2 \(line 3\): a quoted field is never closed$"),
        ('a,b\n1,"x"\n2,"y', r"^record 2 \(line 3\): a quoted field is never closed$"),
        ('a,b\n1,"x"\n2,"y""', r"^record 2 \(line 3\): a quoted field is never closed$"),
        ('a,b\n1,"x\n2,"y"\n', r"^record 1 \(line 3\): a quoted field goes on"),
        ('a,b\n1,"The "acute" pain"\n', r"^record 1 \(line 2\): a quoted field goes on"),
        ('a,b\n1,"x" \n', r"^record 1 \(line 2\): a quoted field goes on"),
        ('a,b\n1,"x\\"y"\n', r"^record 1 \(line 2\): a quoted field goes on"),
        ('a,b\n1,5" needle\n', r"^record 1 \(line 2\): a quote stands in a field"),
        ('a,b\n1, "x"\n', r"^record 1 \(line 2\): a quote stands in a field"),
        ('a,"b\n1,x\n', r"^header \(line 1\): a quoted field is never closed$"),
        ("a,b\n\n1,x\n2,x,y\n", r"^record 2 \(line 4\): 3 fields, the header has 2$"),
        ("a,b\r1,x\r2\r", r"^record 2 \(line 3\): 1 fields, the header has 2$"),
        ("a,b\n1,x\ny\n", r"^record 2 \(line 3\): 1 fields, the header has 2$"),
        ("a,b,A\n1,2,3\n", "names a column twice"),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_a_broken_file_is_refused_at_its_record(text, told, block, monkeypatch):
    monkeypatch.setattr(csv_records, "BLOCK", block)
    with pytest.raises(CsvFault, match=told):
        read(text.encode())


@pytest.mark.parametrize("block", [1, 1 << 18])
def test_bytes_of_another_encoding_are_refused_at_their_record(block, monkeypatch):
    monkeypatch.setattr(csv_records, "BLOCK", block)
    with pytest.raises(CsvFault, match=r"^record 2 \(line 3\): bytes that are not utf-8"):
        read(b"a,b\n1,x\n2,caf\xe9 y\n3,z\n")
    with pytest.raises(CsvFault, match=r"^record 1 \(line 2\): bytes that are not utf-8"):
        read("a,b\n1,caf\u00e9".encode()[:-1])


@pytest.mark.parametrize("packed", [gzip, bz2])
def test_a_compressed_file_that_is_cut_off_is_refused(packed):
    data = packed.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i**9) for i in range(20_000)))
    for stop in (len(data) // 2, len(data) - 1, 5):
        with pytest.raises(CsvFault, match=r"the file is cut off or broken \(EOFError\)"):
            reader = CsvReader(packed.open(io.BytesIO(data[:stop])), "utf-8", Dialect())
            assert len(list(reader)) <= 20_000


@pytest.mark.parametrize("start", [b'1,"x\n', b"1,x", b"1,"])
def test_a_record_without_an_end_does_not_fill_the_memory(start, monkeypatch):
    monkeypatch.setattr(csv_records, "MOST_RECORD", 1 << 10)
    monkeypatch.setattr(csv_records, "BLOCK", 1 << 8)
    with pytest.raises(CsvFault, match=r"record 1 \(line 2\): more than 1024 .*no line ends"):
        read(b"a,b\n" + start + b"y,z " * 10_000)


PIECES = st.sampled_from(
    ["a", ",", '"', '""', '"a"', "\n", "\r", "\r\n", "\\", "\u00e9", "\U0001f600"]
)


def outcome(data, encoding, dialect, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_records, "BLOCK", block)
        try:
            return read(data, dialect, encoding)
        except CsvFault as fault:
            return str(fault)


@given(
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(PIECES, max_size=12),
    st.sampled_from(["utf-8", "utf-16", "gb18030"]),
    st.sampled_from([PLAIN, Dialect(escape="\\"), Dialect(quote=None)]),
)
@example("\n", ["\r", "a", ",", '"'], "utf-8", PLAIN)  # the line counted both ends, by the block
def test_what_is_read_and_told_never_depends_on_the_blocks(end, pieces, encoding, dialect):
    data = f"x,y{end}{''.join(pieces)}".encode(encoding)
    one, *others = (outcome(data, encoding, dialect, block) for block in (1 << 18, 1, 2, 3, 5))
    assert all(other == one for other in others)


@given(st.lists(PIECES, max_size=12))
def test_what_is_taken_is_what_python_takes_strictly(pieces):
    text = "x,y\n" + "".join(pieces).replace("\r", "\n")  # CR: a line end of Python's everywhere
    found = outcome(text.encode(), "utf-8", PLAIN, 1 << 18)
    if isinstance(found, list):
        theirs = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        assert [[field or "" for field in row] for row in found] == theirs
