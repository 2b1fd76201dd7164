"""What README and docs name exists, and what they promise of the repository holds."""

from __future__ import annotations

import re
import runpy
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from spanlake.config.base import Model, load_config
from spanlake.config.extract import ExtractConfig, IngestConfig
from spanlake.config.train import DistilConfig, load_train_config
from spanlake.core.labels import LAYERS, load_labels
from spanlake.spark.schemas import TABLES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATH = re.compile(r"\b(?:jobs|lib|conf|sql|notebooks|tests|docs|benchmarks|studies)/[\w./*-]*[\w*]")
LOADERS = {
    "ingest": partial(load_config, IngestConfig),
    "extract": partial(load_config, ExtractConfig),
    "train": load_train_config,
    "pretrain": lambda path: load_config(import_module("pretrain_encoder").PretrainConfig, path),
    "distil": partial(load_config, DistilConfig),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    named = {path.rstrip(".") for path in PATH.findall(page.read_text(encoding="utf-8"))}
    missing = [p for p in named - {"jobs/VERB.py"} if not list(ROOT.glob(p))]
    assert not missing


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.yml")), ids=lambda p: p.stem)
def test_every_configuration_is_valid(path):
    assert LOADERS[path.stem.split("_")[0]](path).model_dump()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "lib/spanlake/labels").glob("*.yml")), ids=lambda p: p.stem
)
def test_every_label_set_loads_and_defines_its_labels(path):
    labels = load_labels(path.stem)
    assert labels.name == path.stem == yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
    assert all(labels.layer_of(label) in LAYERS for label in labels.labels)
    assert all((labels.main | labels.modifier).values()), "a label without a definition"


def classes_below(kind):
    for child in kind.__subclasses__():
        yield child
        yield from classes_below(child)


CONFIGURATIONS = sorted(
    {c for c in classes_below(Model) if c.__module__.startswith("spanlake.config.")},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_every_key_of_a_configuration_has_a_description(kind):
    assert kind.__doc__, "the paragraph of its section"
    for name, field in kind.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_the_kiwi_schema_is_the_paper_s():
    kiwi = load_labels("kiwi")
    pairs = sum(len(tails) for tails in kiwi.pairs.values())
    assert (len(kiwi.main), len(kiwi.modifier), pairs) == (4, 16, 22)


@pytest.fixture(scope="module")
def generated():
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "tables.md"])
def test_a_generated_page_is_current(generated, name):
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == generated[name](), "run `make docs`"


@pytest.mark.parametrize(
    "row",
    [
        "| `tables.schema` | text | none | ",  # its alias
        """| `source.delimiter` | text | ',' | """,
        "| `source.columns` | mapping to text or section | {} | ",
        "| `slices` | whole number, at least 1, at most 100000 | none | ",
        "| `extractor` | section | {kind: tagger} | ",
        "| `extractor.kind` | llama_markup / llama_bio | required | ",
        "| `extractor.calibration.tags` | list of numbers, above 0 | required | ",
        "| `train_data` | text or list of text | required | ",
        "| `resume` | true / false | true | ",
        "| `learning_rate` | number, above 0 | 0.0003 | ",
    ],
)
def test_a_row_of_the_page_has_type_and_default_as_yaml_has_them(generated, row):
    assert f"\n{row}" in generated["configuration.md"]()


def test_a_section_lists_its_own_keys_and_those_of_its_kind(generated):
    parts = re.split(r"^#+ ", generated["configuration.md"](), flags=re.M)
    keys = {p.split("\n")[0]: set(re.findall(r"^\| `(\S+)` ", p, flags=re.M)) for p in parts}
    assert keys["Evaluate"] == {"tables"}  # the one that differs from an extraction's
    assert {"tables", "tables.location", "extractor", "where"} <= keys["Extract"]
    assert {"kind", "soup_size"} <= keys["Train: `kind: tagger`"] - keys["Train"]
    assert {"output_dir", "soup_size", "teachers"} <= keys["Distil"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_its_key_and_its_partitions_as_columns(name):
    table = TABLES[name]
    assert table.description.rstrip().endswith(".") and table.key
    assert {*table.key, *table.partitioned_by} <= set(table.schema.fieldNames())
