"""What drafts save a language model, and that they change nothing: one table on annotated notes.

::

    python benchmarks/llama.py --model build/models/llama-markup --gold GOLD_FOLDER --sentences 100

Each row reads the same sentences: constrained or free, with no draft (an id per pass, with a cache
of keys and values), a copy of the sentence, the tagger's entities, or the model's own answer (the
bound of what a draft can save). `equal` counts sentences whose answer is that of the first row of
its mode. Seconds are wall clock of one process with OMP_NUM_THREADS threads.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from spanlake.config.extractors import extractor_config
from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Extraction, Unit, units_of
from spanlake.corpora import read_brat
from spanlake.models import load_extractor
from spanlake.models.llama.extractor import LlamaExtractor, windows_of
from spanlake.models.llama.markup import Answer
from spanlake.models.llama.verification import Decoding, decode
from spanlake.text.sentences import split

DRAFTS = ("none", "copy", "tagger", "own answer")
HEAD = "mode         draft        seconds  passes  tokens  drafted  accepted  stepped  ties  equal"


class Answered:
    """A drafter that gives answers that are there already."""

    def __init__(self, units: Sequence[Unit], answers: Sequence[Extraction]) -> None:
        self.answers = {unit.unit_key: answer for unit, answer in zip(units, answers, strict=True)}

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        return [self.answers[unit.unit_key] for unit in units]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--kind", default="llama_markup", choices=("llama_markup", "llama_bio"))
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--modes", nargs="+", default=["constrained", "free"])
    parser.add_argument("--drafts", nargs="+", default=list(DRAFTS), choices=DRAFTS)
    parser.add_argument(
        "--generate", type=int, default=0, metavar="N",
        help="first compare N free answers for entities, id for id, with `generate()`",
    )  # fmt: skip
    arguments = parser.parse_args()
    units = some_sentences(arguments.gold, arguments.sentences)
    if arguments.generate:
        config = extractor_config(kind=arguments.kind, model=arguments.model, constrained=False)
        compare_with_generate(LlamaExtractor(config), units[: arguments.generate])
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    sys.stdout.write(f"{len(units)} sentences, {threads} threads\n{HEAD}\n")
    for mode in arguments.modes:
        reference: list[Extraction] = []
        for draft in arguments.drafts:
            config = extractor_config(
                kind=arguments.kind,
                model=arguments.model,
                constrained=mode == "constrained",
                draft={"kind": "tagger"} if draft in ("tagger", "own answer") else draft,
                draft_threshold=0.0 if draft == "own answer" else 0.5,
            )
            extractor = load_extractor(config)
            if draft == "own answer":
                extractor.drafter = Answered(units, reference)
            began = time.perf_counter()
            answers = extractor.extract(units)
            seconds = (time.perf_counter() - began) / len(units)
            reference = reference or answers
            equal = sum(places(a) == places(b) for a, b in zip(answers, reference, strict=True))
            stats, count = extractor.stats.take(), len(units)
            sys.stdout.write(
                f"{mode:12} {draft:11} {seconds:8.3f} {stats.passes / count:7.2f}"
                f" {stats.tokens / count:7.1f} {stats.drafted_tokens / count:8.1f}"
                f" {stats.accepted_tokens / count:9.1f} {stats.stepped_rows:8} {stats.ties:5}"
                f" {equal:6}\n"
            )
            sys.stdout.flush()
    return 0


def compare_with_generate(extractor: LlamaExtractor, units: Sequence[Unit]) -> None:
    """Print how many free answers for main entities are those of transformers' `generate()`."""
    import torch

    model, prompts = extractor.engine.model, extractor.prompts
    task, equal = prompts.entity_tasks["main"], 0
    for unit in units:
        [window] = windows_of(unit.target, words(unit.target), prompts, 512)
        answer = Answer(prompts.answer_format(task, window.source, window.bare_words))
        row = Decoding((*window.source.ids, *task.suffix), answer, limit=100)
        decode(extractor.engine, task.prefix, [row], prompts.end, constrained=False)
        ids = torch.tensor([[*task.prefix, *row.prompt]])
        with torch.inference_mode():
            generated = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=100,
                do_sample=False,
                eos_token_id=list(prompts.end),
            )
        equal += row.accepted == generated[0, ids.shape[1] :].tolist()
    extractor.stats.take()
    sys.stdout.write(f"{equal} of {len(units)} free answers are those of generate()\n")


def places(answer: Extraction) -> tuple[list[tuple[int, int, str]], list[tuple[int, int, str]]]:
    """Return what must be equal in two answers: all but scores."""
    return (
        [entity.key for entity in answer.entities],
        [(r.head, r.tail, r.label) for r in answer.relations],
    )


def some_sentences(folder: Path, count: int) -> list[Unit]:
    """Return every n-th different sentence of the notes, `count` in all."""
    notes, _ = read_brat(folder, load_labels("kiwi"))
    texts = [one.note.note_text for one in notes]
    units = {u.unit_key: u for text in texts for u in units_of(text, split(text))}
    step = max(1, len(units) // count)
    return list(units.values())[::step][:count]


if __name__ == "__main__":
    sys.exit(main())
