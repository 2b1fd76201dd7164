"""Files are read as they are, or one row says what is wrong with them; no Spark is needed."""

from __future__ import annotations

import bz2
import gzip
import io

import pytest

from spanlake.spark import readers
from spanlake.spark.files import _bytes_opener
from spanlake.spark.readers import json_keys, json_rows, text_reader


def told(reader, data, name="n.jsonl"):
    """Return what a reader says of a file that it refuses."""
    *_, (*values, fault, place) = reader(name, _bytes_opener(name, data))
    assert not any(values[1:]) and fault == "files cannot be read"
    return place


def rows(data, columns, encoding="utf-8", name="n.jsonl"):
    found = json_rows(encoding, columns)(name, _bytes_opener(name, data))
    return [row[:-2] for row in found if row[-2:] == (None, None)]


def test_values_of_json_are_text_as_it_is_written():
    line = b'{"a": "x\\ud83d\\ude00", "b": 1.50, "c": 12345678901234567890, "d": [1, "y"]}\n'
    assert rows(line, ["a", "b", "c", "d"]) == [
        ("x\U0001f600", "1.50", "12345678901234567890", '["1", "y"]')
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("20000019.0", "20000019"),
        ("2.5E1", "25"),
        ("-0.0", "0"),
        ("1.5", "1.5"),
        ("1e99", "1e99"),
        ("1e9999999999999999999", "1e9999999999999999999"),
    ],
)
def test_whole_numbers_of_json_have_no_point(number, text):
    assert rows(f'{{"a": {number}}}'.encode(), ["a"]) == [(text,)]


@pytest.mark.parametrize("value", ["true", '["x"]', '{"x": "y"}'])
def test_a_value_that_is_no_text_is_refused_where_a_text_is_asked_for(value):
    line = f'{{"a": 1, "b": {value}}}\n'.encode()
    assert len(rows(line, ["a", "b"])) == 1
    problem = told(json_rows("utf-8", ["a", "b"], ["b"]), line)
    assert problem == "n.jsonl: line 1: b is neither a text nor a number"


def test_a_mark_blank_lines_and_an_array_of_objects_are_read():
    data = b'\xef\xbb\xbf{"a": "1"}\r\n\r\n[{"a": null}, {"a": true}]\n'
    assert rows(data, ["a"]) == [("1",), (None,), ("true",)]
    assert rows('{"a": "\u00e9"}\n'.encode("utf-16"), ["a"], "utf-16") == [("\u00e9",)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"a": 1}\n{"a', "line 2: not JSON, or cut off"),
        (b'{"a": 1}{"a": 2}\n', "line 1: not JSON, or cut off"),
        (b'{"a": 1}\n3\n', "line 2: JSON, but no object"),
        (b'{"a": 1, "a": 2}\n', "line 1: an object has a key twice"),
        (b'{"a": 1}\n{"a": "caf\xe9"}\n', "line 2: bytes that are not utf-8"),
        (b'{"a": "x \\ud800 y"}\n', "line 1: half of a UTF-16 pair"),
        (b'{"a": ["\\udc00\\ud800"]}\n', "line 1: half of a UTF-16 pair"),
        (b"[" * 100_000, "line 1: not JSON"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named(data, problem):
    for reader in (json_keys("utf-8"), json_rows("utf-8", ["a"])):
        assert told(reader, data).startswith(f"n.jsonl: {problem}")


@pytest.mark.parametrize(("packed", "suffix"), [(gzip, ".gz"), (bz2, ".BZ2")])
def test_a_packed_file_is_read_and_one_that_is_cut_off_is_told(packed, suffix):
    data = packed.compress(b"".join(b'{"a": %d}\n' % i**3 for i in range(5000)))
    name = f"n.jsonl{suffix}"
    assert len(rows(data, ["a"], name=name)) == 5000
    cut = told(json_keys("utf-8"), data[:-20], name)
    assert cut == f"{name}: cut off or broken (EOFError)"


def test_a_text_file_of_another_encoding_or_that_cannot_be_opened_is_told():
    def missing():
        raise PermissionError("x")

    read = text_reader("UTF-8")
    assert list(read("s/a.txt", lambda: io.BytesIO(b"\xef\xbb\xbfx\r"))) == [
        ("a", "\ufeffx\r", None, None)
    ]
    ((*_, fault, place),) = read("a.txt", lambda: io.BytesIO(b"caf\xe9"))
    assert fault.startswith("files are not UTF-8") and place == "a"
    ((*_, fault, place),) = read("a.txt", missing)
    assert (fault, place) == ("files cannot be read", "a.txt (PermissionError)")


def test_a_line_or_a_text_of_another_kind_of_file_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(readers, "MOST", 20)
    data = b'{"a": "1"}\n[{"a": "2"}, {"a": "3"}]\n'
    assert told(json_keys("utf-8"), data).startswith("n.jsonl: line 2: 20 characters or more")
    read = text_reader("utf-8")
    assert [row[1] for row in read("a.txt", lambda: io.BytesIO(b"x" * 20))] == ["x" * 20]
    ((*_, fault, place),) = read("a.txt", lambda: io.BytesIO(b"x" * 21))
    assert fault.startswith("files are larger than a note may be") and place == "a"
