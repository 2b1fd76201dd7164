"""Scores by group of an evaluation: by section, by note type and by groups of notes from a file.

Pooled integer counts, so that the groups of one kind add up to the whole (of sections: strict).
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from spanlake.core.counts import Counts, Scores
from spanlake.core.errors import DataError
from spanlake.core.labels import LabelSet
from spanlake.core.sections import safe_name
from spanlake.core.sentences import section_at, split
from spanlake.core.spans import Annotation
from spanlake.models.scoring import ScoredNote, pooled
from spanlake.report.evaluation import Evaluation

GroupCounts = dict[str, dict[str, Counts]]  # by group, then by what was counted
COUNTED = {"main": "entities", "modifier": "modifiers"}  # as the layers are called in the JSON


def read_groups(path: Path) -> dict[str, str]:
    """Return the group of every note id, from a tab-separated file with `note_id` and `group`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", strict=True)
            return {row["note_id"]: row["group"] for row in rows}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: no groups ({type(error).__name__}); needed: columns note_id and group"
        ) from None


def all_groups(
    evaluation: Evaluation, given: Mapping[str, str] | None = None
) -> dict[str, GroupCounts]:
    """Return the groups by kind: `section`, and where there are any `note_type` and `group`.

    `given` is the group of each note id. Raises DataError for notes without one.
    """
    notes, labels = evaluation.notes, evaluation.labels
    found = {"section": by_section(notes, labels)}
    if any(one.gold.note.note_type for one in notes):
        found["note_type"] = _by(notes, labels, lambda one: one.gold.note.note_type or "(none)")
    if given is not None:
        lone = [one.note_id for one in notes if not given.get(one.note_id)]
        if lone:
            raise DataError(f"{len(lone)} notes have no group: {', '.join(lone[:10])}")
        found["group"] = _by(notes, labels, lambda one: given[one.note_id])
    return found


def by_section(notes: Iterable[ScoredNote], labels: LabelSet) -> GroupCounts:
    """Return the strict counts of each layer by the section in which an entity begins.

    Ordered by the number of gold main entities. Names are those of `core.sections.safe_name`.
    """
    found: GroupCounts = defaultdict(lambda: dict.fromkeys(COUNTED.values(), Counts()))
    for note in notes:
        for (section, counted), counts in _section_counts(note, labels).items():
            found[section][counted] += counts
    return dict(sorted(found.items(), key=lambda item: -item[1]["entities"].support))


def _section_counts(note: ScoredNote, labels: LabelSet) -> Mapping[tuple[str, str], Counts]:
    sentences = split(note.gold.note.note_text)
    gold, predicted = _keys(note.gold.annotation), _keys(note.predicted)
    both = gold & predicted
    counts: dict[tuple[str, str], Counts] = defaultdict(Counts)
    for key in gold | predicted:
        one = Counts(int(key in both), int(key not in gold), int(key not in predicted))
        section = safe_name(section_at(sentences, key[0]))
        counts[section, COUNTED[labels.layer_of(key[2])]] += one
    return counts


def _keys(annotation: Annotation) -> set[tuple[int, int, str]]:
    return {entity.key for entity in annotation.entities}


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
