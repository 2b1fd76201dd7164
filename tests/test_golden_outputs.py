"""Outputs of the extractors on the bundled notes, recorded before a change of code, equal after it.

`tests/golden/NAME.jsonl` holds the digest of the weights and the instruction set of the recording
machine, then one line per note: entities and relations as offsets and labels, no text. Entities,
relations, sources and assertions have to be identical, scores within 1e-4, or within 1e-3 on a
processor with another instruction set. All run on the CPU in fp32.

Whoever replaces a model, the lexicon, a rule or a bundled note records again, in the same commit:

    python tests/test_golden_outputs.py --record [dictionary] [small] [bert]

`bert` needs torch: three tiny checkpoints are made here from integers, so that their weights are
the same with every version of torch and numpy.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parent / "golden"
RECORD = "python tests/test_golden_outputs.py --record"
OPTIONS = {
    "dictionary": {"kind": "dictionary"},
    "small": {"kind": "tagger", "device": "cpu", "precision": "fp32"},
    "bert": {"kind": "bert", "device": "cpu", "precision": "fp32", "max_tokens": 64, "stride": 16},
}
MODEL = pytest.mark.model
TOLERANCE, OTHER_PROCESSOR_TOLERANCE = 1e-4, 1e-3
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
DIGITS = 6

Row = dict[str, Any]


def extract(notes: Sequence[tuple[str, str]], options: Row) -> list[Row]:
    """Return a row per (id, text) of `notes`.

    All imports of modules that may move are here: `.ann` files have no scores and assertions.
    """
    from spanlake.config.extractors import extractor_config
    from spanlake.core.types import Note
    from spanlake.models import load_extractor
    from spanlake.predict import annotate

    extractor = load_extractor(extractor_config(**options))
    results = annotate([Note(*note) for note in notes], extractor, "")
    return [
        {
            "note": note_id,
            "text_sha256": _sha256(text.encode()),
            "state": result.state,
            "chars_seen": result.chars_seen,
            "confidences": [_rounded(confidence) for confidence in result.confidences],
            "entities": sorted(
                [
                    *(e.start, e.end, e.label, e.source),
                    *(e.negated, e.uncertain, e.subject, _rounded(e.score)),
                ]
                for e in result.entities
            ),
            "relations": sorted(
                [
                    *(r.head_start, r.head_end, r.head_label),
                    *(r.tail_start, r.tail_end, r.tail_label),
                    *(r.label, r.source, _rounded(r.score)),
                ]
                for r in result.relations
            ),
        }
        for (note_id, text), result in zip(notes, results, strict=True)
    ]


# The default run reads every third note with `small`, and the slow one all of them.
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("dictionary", 1),
        ("small", 3),
        pytest.param("small", 1, marks=pytest.mark.slow),
        pytest.param("bert", 1, marks=MODEL),
    ],
)
def test_outputs_are_the_golden_ones(name: str, every: int, tmp_path: Path) -> None:
    golden, rows = _golden(name)
    options = _options(name, tmp_path)
    _check_digest(name, golden, tmp_path)
    rows = rows[::every]
    same = golden["instruction_set"] == instruction_set()
    tolerance = TOLERANCE if same else OTHER_PROCESSOR_TOLERANCE

    found = extract([(row["note"], _text(row)) for row in rows], options)

    differences = [
        f"{row['note']}: {line}"
        for row, ours in zip(rows, found, strict=True)
        for line in _differences(row, ours, tolerance)
    ]
    what = f"{len(differences)} differences from {name}.jsonl; if meant: {RECORD} {name}"
    assert not differences, "\n".join([what, *differences[:20]])


@pytest.mark.parametrize(("name", "every"), [("dictionary", 1), ("small", 10)])
def test_the_command_writes_the_golden_entities_and_relations(
    name: str, every: int, tmp_path: Path
) -> None:
    from spanlake.cli import main

    golden, rows = _golden(name)
    _check_digest(name, golden, tmp_path)
    rows = rows[::every]
    notes, to = tmp_path / "notes", tmp_path / "out"
    notes.mkdir()
    for row in rows:
        (notes / f"{row['note']}.txt").write_bytes(_text(row).encode())
    sets = [f"--set=extractor.{key}={value}" for key, value in OPTIONS[name].items()]

    assert main(["annotate", str(notes), "--to", str(to), *sets]) == 0

    for row in rows:
        entities, relations = _read_ann(to / f"{row['note']}.ann")
        assert entities == [entity[:4] for entity in row["entities"]], row["note"]
        assert relations == [relation[:8] for relation in row["relations"]], row["note"]


def test_differences_are_seen() -> None:
    _, rows = _golden("small")
    row = rows[0]
    for key, place in (("entities", 0), ("entities", 2), ("entities", 3), ("relations", 3)):
        changed = json.loads(json.dumps(row))
        changed[key][5][place] = changed[key][5][place] * 2
        assert len(_differences(row, changed, TOLERANCE)) == 2  # one is missing, one is new
    for key in ("entities", "relations"):
        fewer = {**row, key: row[key][1:]}
        assert _differences(row, fewer, TOLERANCE) and _differences(fewer, row, TOLERANCE)
        scored = next(i for i, one in enumerate(row[key]) if one[-1] is not None)
        changed = json.loads(json.dumps(row))
        changed[key][scored][-1] -= 5e-4
        assert len(_differences(row, changed, TOLERANCE)) == 1
        assert not _differences(row, changed, OTHER_PROCESSOR_TOLERANCE)
    assert not _differences(row, json.loads(json.dumps(row)), 0.0)


def _differences(golden: Row, found: Row, tolerance: float) -> list[str]:
    """Say where two rows of a note differ, without text."""
    lines = [
        f"{key}: golden {golden[key]}, found {found[key]}"
        for key in ("state", "chars_seen")
        if golden[key] != found[key]
    ]
    if len(golden["confidences"]) != len(found["confidences"]):
        lines.append("another number of sentences")
    else:
        pairs = enumerate(zip(golden["confidences"], found["confidences"], strict=True))
        lines += [
            f"confidence of sentence {i}: golden {old}, found {new}"
            for i, (old, new) in pairs
            if not _close(old, new, tolerance)
        ]
    for key in ("entities", "relations"):
        old = {tuple(row[:-1]): row[-1] for row in golden[key]}
        new = {tuple(row[:-1]): row[-1] for row in found[key]}
        lines += [f"{key}: {row} is missing" for row in old if row not in new]
        lines += [f"{key}: {row} is new" for row in new if row not in old]
        lines += [
            f"{key}: score of {row}: golden {old[row]}, found {new[row]}"
            for row in old
            if row in new and not _close(old[row], new[row], tolerance)
        ]
        if len(golden[key]) != len(found[key]):
            lines.append(f"{key}: golden {len(golden[key])}, found {len(found[key])}")
    return lines


def _close(golden: float | None, found: float | None, tolerance: float) -> bool:
    if golden is None or found is None:
        return golden is found
    return abs(golden - found) <= tolerance + 10.0**-DIGITS  # both are rounded


def _read_ann(path: Path) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return the entities and relations of a brat file as the first columns of golden rows."""
    entities, relations, by_rule = {}, {}, set()
    for line in path.read_text(encoding="utf-8").splitlines():
        name, what, *rest = line.split("\t")
        label, *places = what.split(" ")
        if name.startswith("T"):
            offsets = [int(one) for place in places for one in place.split(";")]
            entities[name] = [offsets[0], offsets[-1], label]
        elif name.startswith("R"):
            relations[name] = (*(place.split(":")[1] for place in places), label)
        elif rest == ["source: rule"]:
            by_rule.add(places[0])
    source = {name: "rule" if name in by_rule else "model" for name in (*entities, *relations)}
    return (
        sorted([*entity, source[name]] for name, entity in entities.items()),
        sorted(
            [*entities[head], *entities[tail], label, source[name]]
            for name, (head, tail, label) in relations.items()
        ),
    )


def _golden(name: str) -> tuple[Row, list[Row]]:
    """Return the header and the rows of a recording."""
    path = GOLDEN / f"{name}.jsonl"
    header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        ends = [entity[:3] for entity in row["entities"]]
        row["relations"] = [[*ends[i], *ends[j], *rest] for i, j, *rest in row["relations"]]
    return header, rows


def _text(row: Row) -> str:
    """Return the text of a bundled note, which has to be the one that was recorded."""
    data = (_notes() / f"{row['note']}.txt").read_bytes()
    assert _sha256(data) == row["text_sha256"], f"{row['note']} has changed: {RECORD}"
    return data.decode()


def _check_digest(name: str, golden: Row, folder: Path) -> None:
    assert digest(name, folder) == golden["digest"], (
        f"the weights or the lexicon of {name} are not those of {name}.jsonl: {RECORD} {name}"
    )


def digest(name: str, folder: Path) -> str:
    """Return a digest of what an extractor reads: `folder` holds the checkpoints of `bert`."""
    import yaml

    if name == "dictionary":
        lexicon = _packaged("lexicon/kiwi.yml").read_text(encoding="utf-8")
        return _sha256(json.dumps(yaml.safe_load(lexicon), sort_keys=True).encode())
    if name == "bert":
        return (folder / "digest").read_text()
    weights = _packaged("small/encoder.bin").parent
    files = ("encoder.xml", "encoder.bin", "linker.xml", "linker.bin", "tokenizer.json")
    return _sha256("".join(_sha256((weights / file).read_bytes()) for file in files).encode())


def instruction_set() -> str:
    """Name what of the processor's instruction sets changes the order of sums in float32."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    return " ".join([platform.machine(), *(name for name in INSTRUCTION_SETS if name in flags)])


def _options(name: str, folder: Path) -> Row:
    if name != "bert":
        return OPTIONS[name]
    make_checkpoints(folder)
    return OPTIONS[name] | {part: str(folder / part) for part in CLASSES}


def _packaged(path: str) -> Path:
    """Return a file of the package, wherever in it the folder stands."""
    import spanlake

    [found] = Path(spanlake.__file__).parent.rglob(path)
    return found


def _notes() -> Path:
    return _packaged("samples/notes")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DIGITS)


# ---- three tiny checkpoints for `bert`

MAIN = ("problem", "treatment", "test", "drug")
MODIFIER = ("negation", "uncertain", "temporal", "severity", "bodyloc", "strength", "labvalue")
CLASSES = {
    "main": ("O", *(f"{prefix}-{label}" for label in MAIN for prefix in "BI")),
    "modifier": ("O", *(f"{prefix}-{label}" for label in MODIFIER for prefix in "BI")),
    "relation": ("none", "hasAttr"),
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NOTES = 4  # the shortest


def make_checkpoints(folder: Path) -> None:
    """Write main/, modifier/ and relation/: two layers of BERT, 64 positions, WordPiece of letters.

    `folder/digest` is of names and numbers: file formats differ between versions.
    """
    transformers = pytest.importorskip("transformers", reason="make setup")
    import numpy as np
    import torch

    kinds = {part: transformers.BertForTokenClassification for part in CLASSES}
    kinds["relation"] = transformers.BertForSequenceClassification
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = (*SPECIAL, *letters, *".,:;/@$#^%()-+", *(f"##{letter}" for letter in letters))
    whole = hashlib.sha256(" ".join(pieces).encode())
    for seed, (part, classes) in enumerate(CLASSES.items(), start=3):  # these find some of all
        config = transformers.BertConfig(
            vocab_size=len(pieces),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            num_labels=len(classes),
            id2label=dict(enumerate(classes)),
            label2id={name: i for i, name in enumerate(classes)},
        )
        model = kinds[part](config)
        random = np.random.RandomState(seed)  # its stream of integers never changes
        with torch.no_grad():
            for name, weights in sorted(model.named_parameters()):
                values = random.randint(-1000, 1001, tuple(weights.shape)) / 1000
                if name.endswith("LayerNorm.weight"):
                    values += 1.5
                elif name == "classifier.weight":
                    values *= 2
                else:
                    values /= 4
                if name == "classifier.bias" and part != "relation":
                    values[0] += 6  # most words are outside
                values = values.astype(np.float32)
                whole.update(name.encode() + values.tobytes())
                weights.copy_(torch.from_numpy(values))
        model.save_pretrained(folder / part)
        _tokenizer(pieces).save_pretrained(folder / part)
    (folder / "digest").write_text(whole.hexdigest()[:32])


def _tokenizer(pieces: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        **{f"{name.strip('[]').lower()}_token": name for name in SPECIAL},
    )


def record(name: str) -> None:
    """Write tests/golden/NAME.jsonl."""
    paths = sorted(_notes().glob("*.txt"))
    if name == "bert":
        paths = sorted(sorted(paths, key=lambda path: path.stat().st_size)[:BERT_NOTES])
    with tempfile.TemporaryDirectory() as folder:
        options = _options(name, Path(folder))
        header = {"digest": digest(name, Path(folder)), "instruction_set": instruction_set()}
        rows = extract([(path.stem, path.read_bytes().decode()) for path in paths], options)
    entities, relations = (sum(len(row[key]) for row in rows) for key in ("entities", "relations"))
    print(f"{name}: {len(rows)} notes, {entities} entities, {relations} relations")
    for row in rows:  # a file half as large names the ends of relations by position
        ends = [entity[:3] for entity in row["entities"]]
        row["relations"] = [
            [ends.index(r[:3]), ends.index(r[3:6]), *r[6:]] for r in row["relations"]
        ]
    lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in (header, *rows)]
    (GOLDEN / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the golden outputs.")
    parser.add_argument("--record", nargs="*", choices=[*OPTIONS], required=True)
    for extractor_name in parser.parse_args().record or OPTIONS:
        record(extractor_name)
    sys.exit(0)
