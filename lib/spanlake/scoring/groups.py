"""Scores by group of an evaluation: of notes, by type or by a file, and of single entities.

Entities are grouped by section, and by whether a training has seen their strings. Pooled integer
counts, so that the groups of one kind add up to the whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeVar

from spanlake.core.labels import LAYERS, LabelSet, Layer
from spanlake.core.types import Annotation, Entity
from spanlake.corpora import ReadReport, read_annotated
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import DataError
from spanlake.scoring.counts import Counts, ManyCounts, Scores
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.matching import overlapping_pairs
from spanlake.scoring.score_extractor import ScoredNote, pooled
from spanlake.text.sections import safe_name
from spanlake.text.sentences import section_at, split

# By group, then by what was counted.
GroupCounts = Mapping[str, Mapping[str, Counts | ManyCounts]]
COUNTED = {"main": "entities", "modifier": "modifiers"}  # as the layers are called in the JSON
Strings = Mapping[Layer, Set[str]]  # texts of entities, case-folded, with single spaces
GroupOf = Callable[[Entity], str]
Some = TypeVar("Some", Counts, ManyCounts)


def read_groups(path: Path) -> dict[str, str]:
    """Return the group of every note id, from a tab-separated file with `note_id` and `group`."""
    return read_note_table(path, "group")


def check_groups(given: Mapping[str, str], note_ids: Iterable[str]) -> None:
    """Raise DataError where a note has no group."""
    if lone := [note_id for note_id in note_ids if not given.get(note_id)]:
        raise DataError(f"{len(lone)} notes have no group: {', '.join(lone[:10])}")


def read_strings(paths: Iterable[Path], labels: LabelSet) -> tuple[Strings, ReadReport]:
    """Return the strings of all gold entities, and what the reader had to leave out.

    Each path is a brat folder or a file of JSON lines; raises as `read_annotated` does.
    """
    strings: dict[Layer, set[str]] = {layer: set() for layer in LAYERS}
    left_out = ReadReport()
    for path in paths:
        notes, report = read_annotated(path, labels)
        left_out.add(report)
        for entity in (entity for note in notes for entity in note.annotation.entities):
            strings[labels.layer_of(entity.label)].add(_string(entity))
    return strings, left_out


def all_groups(
    evaluation: Evaluation,
    given: Mapping[str, str] | None = None,
    seen: Strings | None = None,
) -> dict[str, GroupCounts]:
    """Return the groups by kind: `section`, and where there are any the other kinds.

    `note_type` is the notes' own; `given` is the `group` of each note id, DataError is raised for
    notes without one; `seen` are the strings that `string` tells from others.
    """
    notes, labels = evaluation.notes, evaluation.labels
    groups = {"section": by_section(notes, labels)}
    if any(note.gold.note.note_type for note in notes):
        groups["note_type"] = _by(notes, labels, lambda note: note.gold.note.note_type or "(none)")
    if given is not None:
        check_groups(given, (note.note_id for note in notes))
        groups["group"] = _by(notes, labels, lambda note: given[note.note_id])
    if seen is not None:
        groups["string"] = by_string(notes, labels, seen)
    return groups


def by_section(notes: Iterable[ScoredNote], labels: LabelSet) -> GroupCounts:
    """Return the strict counts of each layer by the section in which an entity begins.

    Ordered by the number of gold main entities. Names are those of `core.sections.safe_name`.
    """
    strict = (_strict_counts(note, labels, _section_of(note)) for note in notes)
    counts = _summed(strict, Counts())
    return dict(sorted(counts.items(), key=lambda item: -item[1]["entities"].support))


def by_string(notes: Sequence[ScoredNote], labels: LabelSet, seen: Strings) -> GroupCounts:
    """Return the counts of each layer by whether the entity's own string is `seen` or `unseen`.

    Strict, and many to one as `..._relaxed_many`: one to one, several pairings may be the largest,
    and which of them is taken would decide whose entity is found.
    """

    def group_of(entity: Entity) -> str:
        known = _string(entity) in seen[labels.layer_of(entity.label)]
        return "seen" if known else "unseen"

    strict = _summed((_strict_counts(note, labels, group_of) for note in notes), Counts())
    many = _summed((_many_counts(note, labels, group_of) for note in notes), ManyCounts())
    return {
        group: {
            **strict[group],
            **{f"{k}_relaxed_many": counts for k, counts in many[group].items()},
        }
        for group in ("seen", "unseen")
    }


def _string(entity: Entity) -> str:
    return " ".join(entity.text.casefold().split())


def _section_of(note: ScoredNote) -> GroupOf:
    sentences = split(note.gold.note.note_text)
    return lambda entity: safe_name(section_at(sentences, entity.start))


def _summed(
    notes: Iterable[Iterable[tuple[str, str, Some]]], nothing: Some
) -> dict[str, dict[str, Some]]:
    """Return the sums of (group, what was counted, counts); `nothing` where there are none."""
    sums: dict[str, dict[str, Some]] = defaultdict(lambda: dict.fromkeys(COUNTED.values(), nothing))
    for group, counted, counts in (item for note in notes for item in note):
        sums[group][counted] = sums[group][counted] + counts
    return sums


def _strict_counts(
    note: ScoredNote, labels: LabelSet, group_of: GroupOf
) -> Iterator[tuple[str, str, Counts]]:
    gold, predicted = _by_key(note.gold.annotation), _by_key(note.predicted)
    for key, entity in {**gold, **predicted}.items():
        both = key in gold and key in predicted
        counts = Counts(int(both), int(key not in gold), int(key not in predicted))
        yield group_of(entity), COUNTED[labels.layer_of(entity.label)], counts


def _many_counts(
    note: ScoredNote, labels: LabelSet, group_of: GroupOf
) -> Iterator[tuple[str, str, ManyCounts]]:
    gold, predicted = (
        list(_by_key(annotation).values()) for annotation in (note.gold.annotation, note.predicted)
    )
    overlaps = overlapping_pairs([e.span for e in gold], [e.span for e in predicted])
    pairs = [(i, j) for i, j in overlaps if gold[i].label == predicted[j].label]
    matched_gold, matched_predicted = {i for i, _ in pairs}, {j for _, j in pairs}
    counts = [
        (e, ManyCounts(matched_gold=int(i in matched_gold), gold=1)) for i, e in enumerate(gold)
    ]
    counts += [
        (e, ManyCounts(matched_predicted=int(j in matched_predicted), predicted=1))
        for j, e in enumerate(predicted)
    ]
    for entity, many_counts in counts:
        yield group_of(entity), COUNTED[labels.layer_of(entity.label)], many_counts


def _by_key(annotation: Annotation) -> dict[tuple[int, int, str], Entity]:
    return {entity.key: entity for entity in annotation.entities}


def _by(
    notes: Iterable[ScoredNote], labels: LabelSet, group_of: Callable[[ScoredNote], str]
) -> GroupCounts:
    members: dict[str, list[Scores]] = defaultdict(list)
    for note in notes:
        members[group_of(note)].append(note.scores)
    return {name: _strict(pooled(members[name], labels)) for name in sorted(members)}


def _strict(scores: Scores) -> dict[str, Counts]:
    counts = {
        "entities": scores.entities.micro.strict,
        "modifiers": scores.modifiers.micro.strict,
        "relations": scores.relations_strict,
    }
    linked = scores.gold_entities
    return counts if linked is None else {**counts, "relations_gold_entities": linked}
