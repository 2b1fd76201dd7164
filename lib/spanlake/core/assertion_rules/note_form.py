"""A note as the rules see it: logical lines, main entities in order, and patterns over them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from spanlake.core.types import Entity, Sentence

SPACE = r"[^\S\n]"  # white space within a logical line
REACH = 4000  # characters that a cue may govern: linear time where nothing ends a sentence


def rule(source: str, *, case: bool = False) -> re.Pattern[str]:
    """Compile a pattern that is blind to case unless `case`.

    A space in it stands for white space within a logical line, `~` for optional white space there.
    Both take all of it and give nothing back (possessive), so that long blanks cost no more than
    one look: what follows either must not begin with white space.
    """
    spaced = source.replace(" ", f"{SPACE}++").replace("~", f"{SPACE}*+")
    return re.compile(spaced, 0 if case else re.IGNORECASE)


GAP = r"(?:\x20{2}|\x20?\t)"  # between columns
END = rf"(?={GAP}|~(?:[.,;)|\n]|\(|$))"  # what follows an answer
# Ends what a cue governs. ".," stands where a line break was lost (MTSamples as handed around).
CLAUSE = r"(?:\n|[.;](?=\s|$)|[.:](?=,\S))"
ARTICLE = r"(?:a|an|the|any|some|his|her|their)"
# Words between a cue and its finding.
FILLER = (
    rf"(?:{ARTICLE}|acute|new|obvious|overt|gross|significant|clear|definite|current|other|prior|"
    r"previous|known|recent|active|underlying|early|developing|small|mild|superimposed|recurrent|"
    r"(?:evidence|signs?|symptoms?|suggestion|indication|history|complaints?|hx|findings?|"
    r"episodes?) (?:of|for)|h/o|family (?:medical )?history of|from|(?:related|due|secondary) to)"
)
CLAUSE_END = rule(CLAUSE)
LINE_REST = rule(r"~(?:\n|$)")
JOINED_STRONGLY = rule(rf"~(?:,?~(?:or|nor|and/or) |/~)(?:{ARTICLE} )?")
JOINED = rule(rf"~(?:,~(?:and )?|and |&~)(?:{ARTICLE} )?")
NEW_FINDING = rule(
    r"(?:an?|some|mild|mildly|moderate|slight|small|trace|few|old|chronic|stable|known|status)\b"
)
BULLET = rule(r"~(?:[-*•·▪►●○+>]|\(?\d{1,2}[.)]|[a-z][.)]|\[~\])~")
ITEM = rule(r"[^:]{1,60}")  # a line of a list without bullets
COLON_END = rule(r":~$")
SEGMENT = rule(rf"[.;|](?=\s|$)|{GAP}[\x20\t]*")
WRAP = re.compile(r"(?<![ \t])[ \t]*[\n\r\v\f\x85\u2028\u2029]\s*")
OTHER_BREAK = re.compile(r"\r(?!\n)|[\v\f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue of one modifier label at ``[start, end)``, and positions of the entities it governs."""

    label: str
    start: int
    end: int
    heads: Sequence[int]


@dataclass(slots=True)
class NoteForm:
    """A note as the rules see it.

    `text` is the note with the line breaks within sentences as spaces, so that a line of it is a
    logical line; offsets are those of the note. `mains` are positions of main entities in
    `entities`, in order of their place.
    """

    text: str
    sentences: Sequence[Sentence]
    entities: Sequence[Entity]
    mains: list[int]
    starts: list[int] = field(init=False)
    ranks: dict[int, int] = field(init=False)
    lines: list[tuple[int, int]] = field(init=False)
    _places: dict[re.Pattern[str], list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.starts = [self.entities[i].start for i in self.mains]
        self.ranks = {main: rank for rank, main in enumerate(self.mains)}
        breaks = [match.start() for match in re.finditer("\n", self.text)]
        starts = [0, *(place + 1 for place in breaks)]
        self.lines = list(zip(starts, [*breaks, len(self.text)], strict=True))

    def within(self, start: int, end: int) -> list[int]:
        """Return the main entities that lie wholly in ``[start, end)``."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        return [i for i in self.mains[first:last] if self.entities[i].end <= end]

    def of_label(self, heads: Iterable[int], *labels: str) -> list[int]:
        """Return those of the entities that have one of the labels."""
        return [i for i in heads if self.entities[i].label in labels]

    def until(self, stop: re.Pattern[str], start: int) -> int:
        """Return where `stop` first matches behind `start`, at most `REACH` characters away."""
        end = min(len(self.text), start + REACH)
        places = self.places(stop)
        at = bisect_left(places, start)
        return min(places[at], end) if at < len(places) else end

    def places(self, pattern: re.Pattern[str]) -> list[int]:
        """Return where matches of a pattern begin; the note is searched for it once."""
        if pattern not in self._places:
            self._places[pattern] = [match.start() for match in pattern.finditer(self.text)]
        return self._places[pattern]

    def before(self, start: int, characters: int) -> str:
        """Return the text before a place, at most so many characters of it."""
        return self.text[max(0, start - characters) : start]

    def line_at(self, place: int) -> tuple[int, int]:
        """Return the logical line that holds a place."""
        return self.lines[max(0, bisect_right(self.lines, (place, len(self.text))) - 1)]

    def sentence_start(self, place: int) -> int:
        """Return where the sentence that holds a place begins."""
        at = bisect_right(self.sentences, place, key=lambda sentence: sentence.span.start)
        return self.sentences[at - 1].span.start if at else 0

    def coordinated_before(self, last: int, *, lists: bool) -> list[int]:
        """Return entities that share what follows `last`: "fissure or fistula not seen".

        A comma joins only in a list that ends with "or", "nor" or "/", or where `lists`.
        """
        coordinated, at = [last], self.ranks[last]
        while at > 0:
            gap = self._between(self.mains[at - 1], coordinated[0])
            strong = JOINED_STRONGLY.fullmatch(gap)
            if not (strong or ((lists or len(coordinated) > 1) and JOINED.fullmatch(gap))):
                break
            coordinated.insert(0, self.mains[at - 1])
            at -= 1
        return coordinated

    def coordinated_after(
        self, first: int, *, lists: bool, whole_clause: bool = False
    ) -> list[int]:
        """Return entities that share what stands before `first`: "no fissure, fistula or abscess".

        Without `lists`, a comma joins only where "or", "nor" or "/" ends the list, or, with
        `whole_clause`, where the clause ends with it ("No fever, chills.") and no item says that it
        is there ("a", "mild").
        """
        at = self.ranks[first]
        coordinated, kept, plain = [first], 1, True
        while at + 1 < len(self.mains):
            following = self.mains[at + 1]
            gap = self._between(coordinated[-1], following)
            strong = JOINED_STRONGLY.fullmatch(gap)
            if not (strong or JOINED.fullmatch(gap)):
                break
            plain = (
                plain and "and" not in gap and not NEW_FINDING.match(self.entities[following].text)
            )
            coordinated.append(following)
            kept = len(coordinated) if strong or lists else kept
            at += 1
        whole = (
            whole_clause
            and plain
            and LIST_END.match(self.text, self.entities[coordinated[-1]].end) is not None
        )
        return coordinated if whole else coordinated[:kept]

    def list_below(self, number: int, *, bullets_only: bool = False) -> Iterator[tuple[int, int]]:
        """Yield the lines of the list below a line.

        It ends at a blank line, at a line that ends with a colon or is a title in capitals, and, of
        bullets, at the first line without one. A blank line right below the line is passed over, as
        one blank line between two bullets is.
        """
        bulleted: bool | None = None
        capitals = False
        for below in range(number + 1, len(self.lines)):
            first, last = self.lines[below]
            line = self.text[first:last]
            if not line.strip():
                if (bulleted is None and below == number + 1) or (
                    bulleted and below + 1 < len(self.lines) and self._bulleted(below + 1)
                ):
                    continue
                return
            marked = self._bulleted(below)
            if bulleted is None:
                if bullets_only and not marked:
                    return
                bulleted, capitals = marked, line.isupper()
            title = COLON_END.search(line) or (line.isupper() and not capitals)
            if title or marked != bulleted or not (marked or ITEM.fullmatch(line)):
                return
            yield first, last

    def _bulleted(self, number: int) -> bool:
        match = BULLET.match(self.text, *self.lines[number])
        return match is not None and bool(match.group().strip())

    def segment(self, start: int, end: int) -> int:
        """Return where what ends at `end` begins: behind the last full stop, bar or gap."""
        last = start
        for mark in SEGMENT.finditer(self.text, start, end):
            if mark.end() < end:
                last = mark.end()
        return last

    def _between(self, left: int, right: int) -> str:
        return self.text[self.entities[left].end : self.entities[right].start]


LIST_END = rule(r"~(?:[.;](?=\s|$)|\n|$)")


def bare(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Return the place of a cue without the colon behind it."""
    start, end = match.span("cue")
    return start, start + len(text[start:end].rstrip(": \t\xa0"))


def logical_lines(note_text: str, sentences: Sequence[Sentence]) -> str:
    """Return the text with LF for every line break but those within sentences.

    These, and the indentation behind them, become no-break spaces, which part no columns. The CR of
    a CR LF becomes one too: the two are one line break, and no blank line.
    """
    parts, at = [], 0
    for sentence in sentences:
        span = sentence.span
        parts.append(_line_feeds(note_text[at : span.start]))
        parts.append(WRAP.sub(_blank, note_text[span.start : span.end]))
        at = span.end
    return "".join([*parts, _line_feeds(note_text[at:])])


def _line_feeds(text: str) -> str:
    return OTHER_BREAK.sub("\n", text.replace("\r\n", "\xa0\n"))


def _blank(match: re.Match[str]) -> str:
    return "\xa0" * len(match.group())
