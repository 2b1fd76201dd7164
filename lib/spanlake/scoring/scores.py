"""Scores for people and programs: a JSON shape, a printed table, rows for the `scores` table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spanlake.scoring.counts import Counts, EntityCounts, LayerScores, ManyCounts, Scores

DASH = "-"  # an undefined ratio; 0.000 would say that something was predicted and all of it wrong


def to_json(scores: Scores, baselines: Mapping[str, Counts] | None = None) -> dict[str, object]:
    """Return what `spanlake evaluate --json` writes; undefined ratios are None.

    `baselines` are rules' relations on gold entities, by the rule's name.
    """
    linked = scores.gold_entities
    relations: dict[str, object] = {
        "gold_entities": None if linked is None else six(linked),
        "strict": six(scores.relations_strict),
        "relaxed": six(scores.relations_relaxed),
    }
    if baselines is not None:
        relations["baselines"] = {name: six(counts) for name, counts in baselines.items()}
    return {
        "entities": _layer_json(scores.entities),
        "modifiers": _layer_json(scores.modifiers),
        "relations": relations,
    }


def rows(scores: Scores, **columns: object) -> list[dict[str, object]]:
    """Return one flat row per level, label and mode, each with the given columns in front.

    `level` is entities, modifiers or relations; `label` is None for all labels together. Raises
    TypeError when a given column has the name of one of the score's own.
    """
    return [
        dict(**columns, level=level, label=label, mode=mode, **six(counts), support=counts.support)
        for level, label, mode, counts in _flat(scores)
    ]


def table(scores: Scores, baselines: Mapping[str, Counts] | None = None) -> str:
    """Return a fixed-width table: layers with their labels, then relations; ends with a newline.

    `baselines` stand below the relations on gold entities, which they are to be compared with.
    """
    rules = baselines or {}
    names = ["gold entities", *rules, *scores.entities.labels, *scores.modifiers.labels]
    width = max(map(len, names)) + 2
    lines = [
        *_layer_lines("entities", scores.entities, width),
        *_layer_lines("modifiers", scores.modifiers, width),
        *_relation_lines(scores, rules, width),
    ]
    return "\n".join(lines) + "\n"


def string_table(strings: Mapping[str, Mapping[str, Counts | ManyCounts]]) -> str:
    """Return a printed table of `scoring.groups.by_string`; ends with a newline.

    Strict, but for the relaxed recall, which is many to one.
    """
    titles = {counted: f"{counted} by string" for counted in ("entities", "modifiers")}
    width = max(map(len, titles.values())) + 2
    lines = []
    for counted, title in titles.items():
        lines.append(_line(title, width, "P", "R", "F1", "relaxed R", "support"))
        for group, counts in strings.items():
            strict, relaxed = counts[counted], _ratio(counts[f"{counted}_relaxed_many"].recall)
            lines.append(_line(f"  {group}", width, *_ratios(strict), relaxed, str(strict.support)))
    return "\n".join(lines) + "\n"


def rules_table(scores: Scores, without_rules: Scores) -> str:
    """Return strict modifiers and relations with the rows that rules add, and without them."""
    rows = [
        ("modifiers, strict", scores.modifiers.micro.strict, without_rules.modifiers.micro.strict),
        ("relations, strict", scores.relations_strict, without_rules.relations_strict),
    ]
    width = max(len(name) for name, _, _ in rows) + 4
    lines = [_line("rules", width, "P", "R", "F1", "F1 without", "support")]
    for name, counts, model in rows:
        ratios = *_ratios(counts), _ratio(model.f1)
        lines.append(_line(f"  {name}", width, *ratios, str(counts.support)))
    return "\n".join(lines) + "\n"


def assertion_table(title: str, assertions: Mapping[str, Counts]) -> str:
    """Return a printed table of `scoring.assertions.assertion_counts`; ends with a newline."""
    width = max(map(len, (title, *assertions))) + 4
    head = _line(title, width, "P", "R", "F1", "", "support")
    lines = [_relation_line(f"  {name}", counts, width) for name, counts in assertions.items()]
    return "\n".join([head, *lines]) + "\n"


def six(counts: Counts | ManyCounts) -> dict[str, object]:
    """Return the three ratios and the three counts of every score in JSON."""
    names = ("precision", "recall", "f1", "tp", "fp", "fn")
    return {name: getattr(counts, name) for name in names}


def _layer_json(layer: LayerScores) -> dict[str, object]:
    micro = layer.micro
    return {
        "strict": six(micro.strict),
        "relaxed": six(micro.relaxed),
        "relaxed_many": six(micro.relaxed_many),
        "labels": {
            label: {"strict": six(label_counts.strict), "relaxed": six(label_counts.relaxed)}
            for label, label_counts in layer.labels.items()
        },
        "lengths": {length: six(counts) for length, counts in layer.lengths.items()},
    }


def _flat(scores: Scores) -> Iterator[tuple[str, str | None, str, Counts | ManyCounts]]:
    for level, layer in (("entities", scores.entities), ("modifiers", scores.modifiers)):
        labels: list[tuple[str | None, EntityCounts]] = [(None, layer.micro), *layer.labels.items()]
        for label, counts in labels:
            yield level, label, "strict", counts.strict
            yield level, label, "relaxed", counts.relaxed
            yield level, label, "relaxed_many", counts.relaxed_many
    if scores.gold_entities is not None:
        yield "relations", None, "gold_entities", scores.gold_entities
    yield "relations", None, "strict", scores.relations_strict
    yield "relations", None, "relaxed", scores.relations_relaxed


def _layer_lines(title: str, layer: LayerScores, width: int) -> list[str]:
    head = _line(title, width, "P", "R", "F1", "relaxed F1", "support")
    named = [("micro", layer.micro), *layer.labels.items()]
    lengths = [
        _line(
            f"  {length} word{'s' * (length != '1')}",
            width,
            *_ratios(counts),
            "",
            str(counts.support),
        )
        for length, counts in layer.lengths.items()
    ]
    return [
        head,
        *(_entity_line(f"  {name}", counts, width) for name, counts in named),
        *lengths,
        "",
    ]


def _entity_line(name: str, counts: EntityCounts, width: int) -> str:
    strict = _ratios(counts.strict)
    return _line(name, width, *strict, _ratio(counts.relaxed.f1), str(counts.strict.support))


def _relation_lines(scores: Scores, rules: Mapping[str, Counts], width: int) -> list[str]:
    named = (
        ("gold entities", scores.gold_entities),
        *rules.items(),
        ("strict", scores.relations_strict),
        ("relaxed", scores.relations_relaxed),
    )
    head = _line("relations", width, "P", "R", "F1", "", "support")
    return [head, *(_relation_line(f"  {name}", counts, width) for name, counts in named)]


def _relation_line(name: str, counts: Counts | None, width: int) -> str:
    if counts is None:
        return _line(name, width, DASH, DASH, DASH, "", DASH)
    return _line(name, width, *_ratios(counts), "", str(counts.support))


def _line(name: str, width: int, *cells: str) -> str:
    sizes = (7, 7, 7, 12, 9)
    cut = "".join(f"{cell:>{size}}" for cell, size in zip(cells, sizes, strict=True))
    return f"{name:<{width}}{cut}"


def _ratios(counts: Counts | ManyCounts) -> tuple[str, str, str]:
    return _ratio(counts.precision), _ratio(counts.recall), _ratio(counts.f1)


def _ratio(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
