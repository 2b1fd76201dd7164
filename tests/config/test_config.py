from __future__ import annotations

import pytest

from spanlake.config.base import codec_of, load_config, read_values
from spanlake.config.extract import EvaluateConfig, ExtractConfig, IngestConfig
from spanlake.config.extractors import extractor_config
from spanlake.config.train import (
    REMOVED_KEYS,
    RENAMED_KEYS,
    BertTrainConfig,
    TaggerTrainConfig,
    load_train_config,
)
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError


@pytest.fixture
def conf(tmp_path):
    def write(text):
        path = tmp_path / "conf.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_and_overrides_make_a_configuration(conf):
    path = conf("tables: {location: build/t}\nextractor: {kind: dictionary}\n")
    config = load_config(ExtractConfig, path, ["slices=3", "tables.location=elsewhere"])
    assert (config.slices, config.tables.location) == (3, "elsewhere")


def test_an_unknown_key_is_refused_with_the_nearest_known_one(conf):
    path = conf("tables: {location: t}\nextractor: {kind: bert, modle: x}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'extractor.modle'; did you mean 'model'"):
        load_config(ExtractConfig, path)


def test_a_schema_is_given_by_its_own_name(conf):
    config = load_config(ExtractConfig, conf("tables: {schema: main.notes}"))
    assert config.tables.database == "main.notes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: {}", "either tables.location"),
        ("tables: {location: t}\nextractor: {kind: bert}", "bert needs extractor.model"),
        ("tables: {location: t}\nslices: 0", "slices"),
        ("- a\n- b", "expected keys and values"),
        ("tables: [", r"not YAML: line 1: .*$"),
        ("tables: {location: t}\nextractor: {stride: 200}", "less than half"),
        (
            "tables: {location: t}\nextractor: {label_map: {P: problem}}",
            "label_map is a key of kind: bert, not of kind: tagger",
        ),
        (
            "tables: {location: t}\nextractor: {kind: bert, model: m, entity_threshold: 0.9}",
            "extractor.entity_threshold is a key of kind: tagger, not of kind: bert",
        ),
    ],
)
def test_wrong_configurations_say_what_is_wrong(conf, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(ExtractConfig, conf(text))


def test_a_file_that_is_not_utf_8_is_refused(conf):
    path = conf("tables: {location: t}")
    path.write_bytes(b"tables: {location: caf\xe9}")
    with pytest.raises(ConfigError, match=r"conf\.yml: not UTF-8 at byte 22"):
        load_config(ExtractConfig, path)


def test_a_section_given_as_a_value_is_refused_with_its_keys(conf):
    with pytest.raises(ConfigError, match="extractor is a section, found 'x'; its keys: "):
        load_config(ExtractConfig, conf("tables: {location: t}"), ["extractor=x"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no_such\.yml"):
        load_train_config(tmp_path / "no_such.yml")


@pytest.mark.parametrize(
    ("kind", "expected"), [("", BertTrainConfig), ("kind: tagger\n", TaggerTrainConfig)]
)
def test_a_recipe_is_of_the_kind_that_it_names(conf, kind, expected):
    config = load_train_config(conf(kind + "model: m\ntrain_data: [a, b]\noutput_dir: t"))
    assert type(config) is expected
    assert [path.name for path in config.train_folders] == ["a", "b"]


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_a_renamed_key_is_refused_with_its_new_name(conf, old, new):
    with pytest.raises(ConfigError, match=f"{old!r} is now {new!r}"):
        load_train_config(conf(f"kind: tagger\nmodel: m\n{old}: 1"))


@pytest.mark.parametrize("key", REMOVED_KEYS)
def test_a_removed_key_is_refused(conf, key):
    with pytest.raises(ConfigError, match=f"{key!r} was removed"):
        load_train_config(conf(f"kind: tagger\nmodel: m\n{key}: 1"))


def test_an_unknown_kind_of_recipe_is_refused_with_the_known_ones(conf):
    with pytest.raises(ConfigError, match="known: bert, tagger"):
        load_train_config(conf("kind: crf\nmodel: m\ntrain_data: t\noutput_dir: t"))


def test_the_column_map_knows_the_columns_of_notes(conf):
    text = "tables: {location: t}\nsource: {format: csv, path: x, columns: {note: text}}"
    with pytest.raises(ConfigError, match="the columns of notes are"):
        load_config(IngestConfig, conf(text))


def source_of(conf, text):
    made = f"tables: {{location: t}}\nsource: {{format: csv, path: x, {text}}}"
    return load_config(IngestConfig, conf(made)).source


@pytest.mark.parametrize(
    ("given", "mark"),
    [("tab", "\t"), (r"\t", "\t"), ("pipe", "|"), ("|", "|"), (";", ";"), (",", ",")]
    + [(mark, mark) for mark in ("\t", " ", "'", ">", "#", "-", "\u00a7")],
)
def test_a_delimiter_is_one_character_also_on_the_command_line(conf, given, mark):
    path = conf("tables: {location: t}\nsource: {format: csv, path: x}")
    config = load_config(IngestConfig, path, [f"source.delimiter={given}"])
    assert config.source.delimiter == mark


def test_a_file_may_quote_nothing_and_escape_by_a_character(conf):
    assert source_of(conf, "quote: null").quote is None
    assert source_of(conf, r'escape: "\\"').escape == "\\"
    path = conf("tables: {location: t}\nsource: {format: csv, path: x, quote: null}")
    config = load_config(IngestConfig, path, ['source.quote="', "source.escape=\\"])
    assert (config.source.quote, config.source.escape) == ('"', "\\")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delimiter: ';;'", r"source\.delimiter: one character is expected .* found ';;'"),
        (r'delimiter: "\n"', r"source\.delimiter: one character is expected"),
        ("delimiter: 1", r"source\.delimiter: one character is expected .* found 1"),
        ("quote: ab", r"source\.quote: one character"),
        ("quote: ','", "source.delimiter must differ"),
        (r'quote: null, escape: "\\"', "source.escape changes nothing without source.quote"),
        ("encoding: utf_7", "source.encoding: utf_7 can spell halves of UTF-16 pairs"),
        ("columns: {note_type: {sq: x}}", r"note_type: a column's name or \{sql: EXPRESSION\}"),
        ("columns: {note_type: [x]}", r"note_type: a column's name or \{sql: EXPRESSION\}"),
        ("columns: {note_typ: {sql: x}}", "the columns of notes are"),
        ("columns: note_type", r"source\.columns: "),
    ],
)
def test_a_wrong_source_says_what_is_expected(conf, text, message):
    with pytest.raises(ConfigError, match=message):
        source_of(conf, text)


def test_executors_are_given_absolute_paths(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.yml").touch()
    (tmp_path / "kiwi").touch()  # a bundled set's name is no path, whatever lies here
    monkeypatch.chdir(tmp_path)
    given = extractor_config(models=("model", "some/name"), labels="mine.yml").located()
    assert given.models == (str(tmp_path / "model"), "some/name")
    assert given.labels == str(tmp_path / "mine.yml")
    assert extractor_config().located() == extractor_config()


def test_a_codec_that_is_none_of_text_is_refused():
    with pytest.raises(ConfigError, match="no encoding is called 'hex'"):
        codec_of("hex")


def test_an_encoding_that_does_not_exist_is_refused(conf):
    text = "tables: {location: t}\nsource: {format: text, path: x, encoding: utf-9}"
    with pytest.raises(ConfigError, match="no encoding is called 'utf-9'"):
        load_config(IngestConfig, conf(text))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("note_text <> 'a # b'", "note_text <> 'a # b'"),
        ("notes #2.csv", "notes #2.csv"),
        ("#2", "#2"),
        ('"a # b"', "a # b"),
        ("[1, a #2]", [1, "a #2"]),
        ("{'#': 'x # y'}", {"#": "x # y"}),
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("'5'", "5"),
        ("~", None),
        ('"', '"'),
    ],
)
def test_an_override_is_yaml_without_comments(value, expected):
    assert read_values(None, [f"a.b={value}"]) == {"a": {"b": expected}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: {location: t}\nslices: 2\n'slices': 3\n", "line 3: key 'slices' stands here a"),
        ("tables: {location: t,\n  location: u}\n", "line 2: key 'location' stands here a second"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_with_its_line(conf, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(ExtractConfig, conf(text))
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(ExtractConfig, None, ["tables={location: t, location: u}"])


def test_keys_that_an_anchor_brings_may_be_overridden(conf):
    text = "a: &a {b: 1, c: 2}\nd: &d {<<: *a, c: 3}\ne: {<<: *d, c: 4}\n"
    assert read_values(conf(text))["e"] == {"b": 1, "c": 4}


def test_a_label_file_with_a_key_twice_is_refused_with_its_line(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("name: x\nmain:\n  drug: one\n  drug: two\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yml.: not YAML: line 4: key 'drug' stands"):
        load_labels(str(path))
    path.write_text("name: x\nmian: {drug: one}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'mian'; did you mean 'main'") as caught:
        load_labels(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_name_that_is_wrong_is_refused_with_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, name in (("conf", "extract_small.yml"), ("mine", "ingest_ours.yaml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    for given, near in (
        ("conf/extract_smal.yml", "conf/extract_small.yml"),
        ("extract_small.yml", "conf/extract_small.yml"),
        ("conf/extract_small", "conf/extract_small.yml"),
        ("mine/ingest_our.yml", "mine/ingest_ours.yaml"),
    ):
        with pytest.raises(ConfigError, match=rf"no such file; did you mean {near}\?$"):
            load_config(ExtractConfig, given)
    with pytest.raises(ConfigError, match=r"other\.yml: no such file$"):
        load_config(ExtractConfig, "other.yml")
    with pytest.raises(ConfigError, match="conf: a folder: give a YAML file of it"):
        load_config(ExtractConfig, "conf")


def test_an_override_without_a_value_is_refused(conf):
    with pytest.raises(ConfigError, match="key=value"):
        load_config(ExtractConfig, conf("tables: {location: t}"), ["slices"])


def test_a_key_without_its_section_is_told_where_it_stands():
    with pytest.raises(ConfigError, match=r"did you mean 'extractor.entity_threshold'"):
        load_config(EvaluateConfig, None, ["entity_threshold=0.2"])


def test_the_configuration_of_another_job_is_no_flood(tmp_path):
    path = tmp_path / "other.yml"
    path.write_text("".join(f"xyz{i}: 1\n" for i in range(9)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is this the configuration of another job.*and 5 more$"):
        load_config(EvaluateConfig, path)
