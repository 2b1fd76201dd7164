"""Compare sentence splitters on speed and on the gold annotation that their boundaries cut.

    python benchmarks/sentence_splitters.py CORPORA [--rounds 3] [--every 20]

CORPORA holds `mtsamples_kiwi/train`, `mtsamples_kiwi/dev` (brat) and `mtsamples_notes/notes.jsonl`.
`pip install PyRuSH pysbd blingfire spacy` gives the others; one that is not installed is left out
with a message. Timings are interleaved in one process: every round times each splitter once on the
same notes, in turns, and the median round counts. Of the raw notes every twentieth is taken: some
splitters need minutes for all. `wrapped` notes are the train notes with a line
break in place of a space wherever a line would pass the given width, so offsets stay the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

from spanlake.text.sentences import SPLITTER_VERSION
from spanlake.text.sentences import split as spanlake_split

SIZES = "sentences | words: median / 90 % / 99 % | longest | over 100 | characters lost or doubled"
Offsets = list[tuple[int, int]]
Splitter = Callable[[str], Offsets]


class Gold(NamedTuple):
    """A note with its entities' offsets by id, and its relations as pairs of ids."""

    text: str
    entities: dict[str, tuple[int, int]]
    relations: list[tuple[str, str]]


def spanlake(text: str) -> Offsets:
    return [(s.span.start, s.span.end) for s in spanlake_split(text)]


def lines(text: str) -> Offsets:
    return [m.span() for m in re.finditer(r"[^\n]*\S[^\n]*", text)]


def pyrush() -> Splitter:
    module = import_module("PyRuSH")
    rules = metadata.distribution("PyRuSH").locate_file("conf/rush_rules.tsv")
    rush = module.RuSH(str(rules))
    return lambda text: [(s.begin, s.end) for s in rush.segToSentenceSpans(text)]


def pysbd() -> Splitter:
    segmenter = import_module("pysbd").Segmenter(language="en", clean=False, char_span=True)
    return lambda text: [(s.start, s.end) for s in segmenter.segment(text)]


def blingfire() -> Splitter:
    cut = import_module("blingfire").text_to_sentences_and_offsets
    return lambda text: list(cut(text)[1])


def spacy() -> Splitter:
    nlp = import_module("spacy").blank("en")
    nlp.add_pipe("sentencizer")
    nlp.max_length = 10**9
    return lambda text: [(s.start_char, s.end_char) for s in nlp(text).sents]


def within_lines(splitter: Splitter) -> Splitter:
    """Give the splitter one line at a time, so that line breaks are boundaries too."""
    return lambda text: [
        (start + a, start + b) for start, end in lines(text) for a, b in splitter(text[start:end])
    ]


def splitters() -> dict[str, Splitter]:
    """Return what is installed, by name and version, each as it comes and within lines."""
    found: dict[str, Splitter] = {f"spanlake {SPLITTER_VERSION}": spanlake, "lines only": lines}
    makers = {"PyRuSH": pyrush, "pysbd": pysbd, "blingfire": blingfire, "spacy": spacy}
    for package, make in makers.items():
        try:
            splitter = make()
        except ImportError as error:
            print(f"left out: {package} ({error.name} is not installed)")
            continue
        name = f"{package} {metadata.version(package)}"
        found[name] = splitter
        found[f"{name}, in lines"] = within_lines(splitter)
    return found


def read_gold(folder: Path) -> list[Gold]:
    notes = []
    for path in sorted(folder.glob("*.ann")):
        gold = Gold(path.with_suffix(".txt").read_bytes().decode("utf-8"), {}, [])
        for line in path.read_text(encoding="utf-8").splitlines():
            name, what, *_ = [*line.split("\t"), ""]
            if re.fullmatch(r"T\d+", name):
                numbers = [int(n) for n in re.findall(r"\d+", what.split(" ", 1)[1])]
                gold.entities[name] = (min(numbers), max(numbers))
            elif re.fullmatch(r"R\d+", name):
                _, head, tail = what.split()
                gold.relations.append((head.removeprefix("Arg1:"), tail.removeprefix("Arg2:")))
        notes.append(gold)
    return notes


def wrapped(gold: Gold, width: int) -> Gold:
    """Break the note's lines at `width` columns, a line break for a space."""
    out = []
    for line in gold.text.split("\n"):
        start = 0
        chars = list(line)
        for space in re.finditer(" ", line):
            word_end = line.find(" ", space.end())
            word_end = word_end if word_end > 0 else len(line)
            if space.start() > start and word_end - start > width:
                chars[space.start()] = "\n"
                start = space.end()
        out.append("".join(chars))
    return gold._replace(text="\n".join(out))


def cuts(notes: Sequence[Gold], splitter: Splitter) -> tuple[int, int]:
    """Return how many entities no sentence holds, and how many relations no one sentence holds."""
    entities = relations = 0
    for note in notes:
        spans = splitter(note.text)
        at = {
            name: next((i for i, (a, b) in enumerate(spans) if a <= start and end <= b), None)
            for name, (start, end) in note.entities.items()
        }
        entities += sum(place is None for place in at.values())
        relations += sum(at[head] is None or at[head] != at[tail] for head, tail in note.relations)
    return entities, relations


def lost(text: str, spans: Offsets) -> int:
    """Count the characters other than white space that are in no sentence, or in two."""
    held = [0] * len(text)
    for start, end in spans:
        for i in range(start, end):
            held[i] += 1
    kept = (n for n, character in zip(held, text, strict=True) if not character.isspace())
    return sum(n != 1 for n in kept)


def words(texts: Sequence[str], splitter: Splitter) -> str:
    """Return a row of how many sentences there are and how many words they have."""
    spans = [splitter(text) for text in texts]
    sizes = sorted(
        len(t[a:b].split()) for t, some in zip(texts, spans, strict=True) for a, b in some
    )
    at = [sizes[int(len(sizes) * share)] for share in (0.5, 0.9, 0.99)]
    gone = sum(lost(text, some) for text, some in zip(texts, spans, strict=True))
    over = sum(size > 100 for size in sizes)
    return f"{len(sizes):,} | {at[0]} / {at[1]} / {at[2]} | {sizes[-1]} | {over} | {gone}"


def notes_per_second(
    texts: Sequence[str], found: dict[str, Splitter], rounds: int
) -> dict[str, tuple[float, float, float]]:
    """Return the slowest, median and fastest round of each splitter, in notes a second."""
    rates: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, splitter in found.items():
            start = time.perf_counter()
            for text in texts:
                splitter(text)
            rates[name].append(len(texts) / (time.perf_counter() - start))
    return {name: (min(r), statistics.median(r), max(r)) for name, r in rates.items()}


def instruction_set() -> str:
    try:
        flags = set(re.findall(r"\S+", Path("/proc/cpuinfo").read_text(encoding="utf-8")))
    except OSError:
        return platform.machine()
    known = ("avx2", "avx512f", "avx512_vnni", "amx_int8", "asimd", "sve")
    return f"{platform.machine()} {' '.join(name for name in known if name in flags)}"


def table(title: str, header: str, rows: dict[str, Any]) -> None:
    print(f"\n{title}\n\n| splitter | {header} |")
    print("|---|" + "---|" * (header.count("|") + 1))
    for name, row in rows.items():
        print(f"| {name} | {row} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare sentence splitters.")
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=20, help="take each n-th raw note")
    arguments = parser.parse_args()
    folder = arguments.corpora / "mtsamples_kiwi"
    train, dev = read_gold(folder / "train"), read_gold(folder / "dev")
    raw_file = arguments.corpora / "mtsamples_notes" / "notes.jsonl"
    raw = [json.loads(line)["text"] for line in raw_file.read_text(encoding="utf-8").splitlines()]
    raw = raw[:: arguments.every]
    found = splitters()
    print(f"{instruction_set()}, Python {platform.python_version()}, {arguments.rounds} rounds")

    sets = {"train": train, "dev": dev}
    for width in (72, 78, 100):
        sets[f"train at {width} columns"] = [wrapped(note, width) for note in train]
    counts = {n: [cuts(gold, s) for gold in sets.values()] for n, s in found.items()}
    rows = {n: " | ".join(f"{e} / {r}" for e, r in pairs) for n, pairs in counts.items()}
    for name, gold in (("train", train), ("dev", dev)):
        entities, relations = (sum(len(note[i]) for note in gold) for i in (1, 2))
        print(f"{name}: {len(gold)} notes, {entities} entities, {relations} relations")
    table("Cut entities / relations", " | ".join(sets), rows)
    rows = {
        n: sum(g.text[a:b].strip().count("\n") for g in train for a, b in s(g.text))
        for n, s in found.items()
    }
    table("Line breaks inside sentences", "train", rows)

    texts = {"train": [note.text for note in train], "raw": raw}
    for name, some in texts.items():
        print(f"\n## {name}: {len(some)} notes", flush=True)
        table("Sentences", SIZES, {n: words(some, s) for n, s in found.items()})
        rates = notes_per_second(some, found, arguments.rounds)
        rows = {n: f"{r[1]:,.0f} | {r[0]:,.0f} | {r[2]:,.0f}" for n, r in rates.items()}
        table("Notes a second", "median round | slowest | fastest", rows)


if __name__ == "__main__":
    main()
