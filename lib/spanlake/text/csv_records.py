"""CSV read strictly: a file that other readers would guess at is refused, at file and record.

Python's own reader cannot tell `""` (an empty text) from nothing (a null), and takes a quote inside
an unquoted field; Spark's takes open quotes, and changes line ends inside quoted fields.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

BLOCK = 1 << 18  # bytes read at once, at least
MOST_RECORD = 1 << 28  # characters: a longer record is an open quote, or a file without line ends
LONG = "an open quote, or no line ends?"
OPEN = "a quoted field is never closed"
GOES_ON = (
    "a quoted field goes on behind its closing quote (a quote inside it is doubled, or follows"
    " source.escape)"
)
STRAY = "a quote stands in a field that is not quoted (source.quote: null if the file quotes none)"


class CsvFault(Exception):
    """What is wrong with a file, and at which record and line; it holds no text of the file."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written: one character each; without `escape` quotes are doubled."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None


class CsvReader:
    """The records of one file in bounded memory, each as long as `header`; raises CsvFault.

    Fields are exactly as written, line ends inside quotes included. An empty field is None, one
    between quotes "". Blank lines and a byte-order mark are skipped.
    """

    def __init__(self, stream: BufferedIOBase, encoding: str, dialect: Dialect) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding
        self._dialect = dialect
        self._field, self._open = _patterns(dialect, "\r\n|\r|\n")
        self._text, self._at, self._line, self._record = "", 0, 1, 0
        self._start, self._quoted, self._end = 0, False, ""  # of the last record
        self._line_end = "\n"  # what the lines of an error are counted by
        self._ended, self._problem = False, ""
        while not self._text and not self._ended:
            self._fill()
        self._text = self._text.removeprefix("\ufeff")
        header = self._next()
        if header is None:
            raise CsvFault("the file is empty: a header line is expected")
        self.header = [(name or "").strip() for name in header]
        self._refuse_repeated()
        if self._end == "\r":
            self._line_end = "\r"
        else:  # then a CR alone is text: Python and pandas do not quote it
            self._field, self._open = _patterns(dialect, "\r\n|\n")

    def _refuse_repeated(self) -> None:
        names = [name.lower() for name in self.header if name]
        if len(set(names)) < len(names):
            raise CsvFault("its header names a column twice (upper and lower case are one)")

    def __iter__(self) -> Iterator[list[str | None]]:
        width = len(self.header)
        self._record = 1
        while (fields := self._next()) is not None:
            if len(fields) != width:
                raise self._fault(f"{len(fields)} fields, the header has {width}", self._start)
            yield fields
            self._record += 1

    def _next(self) -> list[str | None] | None:
        """Return the next record that is not blank; None at the end of the file."""
        while True:
            fields = self._whole()
            while fields is None:
                self._fill()
                fields = self._whole()
            if not fields:
                return None
            if len(fields) > 1 or (fields[0] is not None and (fields[0].strip() or self._quoted)):
                return fields

    def _whole(self) -> list[str | None] | None:
        """Return the record at hand and go behind it; None if more must be read, [] at the end."""
        text, at, match_at, last = self._text, self._at, self._field.match, not self._ended
        size, delimiter = len(self._text), self._dialect.delimiter
        fields: list[str | None] = []
        if at == size and self._ended:
            return fields
        while True:
            match = match_at(text, at)
            if match is None:
                self._refuse(at)
                return None
            at = match.end()
            if at == size and last:  # a quote, a line end or a field may go on behind the block
                return None
            quoted, plain, end = match.groups()
            fields.append(plain or None if quoted is None else self._unescaped(quoted))
            if end != delimiter:
                self._start, self._at = self._at, at
                self._quoted, self._end = quoted is not None, end
                return fields

    def _unescaped(self, quoted: str) -> str:
        quote, escape = str(self._dialect.quote), self._dialect.escape
        if escape is None:
            return quoted.replace(quote * 2, quote) if quote in quoted else quoted
        if escape not in quoted:
            return quoted
        return re.sub(f"{re.escape(escape)}([{re.escape(quote + escape)}])", r"\1", quoted)

    def _refuse(self, at: int) -> None:
        """Raise CsvFault for the field at `at`, which does not match, unless it is still open."""
        field = self._open.match(self._text, at) if self._open else None
        if field is None:
            raise self._fault(STRAY, at)
        behind = self._text[field.end() : field.end() + 3]
        if behind and (self._ended or behind != f"{self._dialect.quote}\r"):  # of a CR LF perhaps
            raise self._fault(GOES_ON, field.end())
        if self._ended:
            raise self._fault(OPEN, at)

    def _fill(self) -> None:
        """Read on, twice as much each time that a record is still not whole."""
        if self._problem:
            raise self._fault(self._problem, len(self._text))
        if len(self._text) - self._at > MOST_RECORD:
            raise self._fault(f"more than {MOST_RECORD} characters, and no end: {LONG}", self._at)
        more = self._read(max(BLOCK, len(self._text) - self._at))
        self._line += self._lines(self._at)
        self._text, self._at = self._text[self._at :] + more, 0

    def _read(self, size: int) -> str:
        data = self._bytes(size)
        held = len(self._decoder.getstate()[0])
        try:
            return self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:  # what stands before is read: it has the record's place
            self._ended = False
            self._problem = f"bytes that are not {self._encoding} (set source.encoding)"
            return self._decoder.decode(data[: max(0, error.start - held)])

    def _bytes(self, size: int) -> bytes:
        """Return at least `size` bytes, or what there is before the end or before a fault."""
        parts: list[bytes] = []
        try:
            while size > 0 and not self._ended:
                parts.append(self._stream.read1(size))
                self._ended = not parts[-1]
                size -= len(parts[-1])
        except (EOFError, OSError, zlib.error) as error:
            self._problem = f"the file is cut off or broken ({type(error).__name__})"
        return b"".join(parts)

    def _fault(self, problem: str, at: int) -> CsvFault:
        line = self._line + self._lines(at)
        record = f"record {self._record}" if self._record else "header"
        return CsvFault(f"{record} (line {line}): {problem}")

    def _lines(self, end: int) -> int:
        return self._text.count(self._line_end, 0, end)


def _patterns(dialect: Dialect, line_ends: str) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    """Return what matches a field with its end, and a quoted field as far as it goes."""
    ends = f"({re.escape(dialect.delimiter)}|{line_ends}|\\Z)"
    some = f"[^{re.escape(dialect.delimiter + (dialect.quote or ''))}\\r\\n]*+"
    plain = f"({some}(?:(?!{line_ends})\\r{some})*+)"
    if dialect.quote is None:
        return re.compile(f"(?:((?!))|{plain}){ends}"), None
    quote = re.escape(dialect.quote)
    if dialect.escape is None:
        inner, more = f"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+", ""
    else:
        escape = re.escape(dialect.escape)
        inner, more = f"[^{quote}{escape}]*+(?:{escape}.[^{quote}{escape}]*+)*+", f"{escape}?"
    field = f"(?:{quote}({inner}){quote}|{plain}){ends}"
    return re.compile(field, re.DOTALL), re.compile(f"{quote}{inner}{more}", re.DOTALL)
