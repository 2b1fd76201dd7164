"""What README and docs name exists, and what they promise of the repository holds."""

from __future__ import annotations

import re
import runpy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from spanlake.config.base import load_config
from spanlake.config.extract import EvaluateConfig, ExtractConfig, IngestConfig
from spanlake.config.train import (
    BertTrainConfig,
    DistilConfig,
    TaggerTrainConfig,
    load_train_config,
)
from spanlake.core.labels import LAYERS, load_labels

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
SECTIONS = [
    (IngestConfig, ["Ingest"]),
    (ExtractConfig, ["Extract"]),
    (EvaluateConfig, ["Extract", "Evaluate"]),
    (BertTrainConfig, ["Train", "`kind: bert`"]),
    (TaggerTrainConfig, ["Train", "`kind: tagger`"]),
    (DistilConfig, ["Distil"]),
]


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


@pytest.mark.parametrize(("model", "sections"), SECTIONS, ids=lambda x: getattr(x, "__name__", ""))
def test_every_key_of_a_configuration_is_documented_with_its_default(model, sections):
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    parts = dict(part.split("\n", 1) for part in re.split(r"^#+ ", page, flags=re.M)[1:])
    lines = [line for name in sections for line in parts[name].splitlines()]
    documented = dict(re.findall(r"^\| `(\S+)` \| [^|]+ \| ([^|]+) \|", "\n".join(lines), re.M))
    for key, field in keys_of(model):
        default = field.get_default(call_default_factory=True)
        default = list(default) if isinstance(default, tuple) else default  # as YAML has it
        expected = "required" if field.is_required() else "none" if default is None else default
        if not isinstance(default, BaseModel):  # its keys have rows of their own
            assert yaml.safe_load(documented[key]) == expected, key


def keys_of(model, section=""):
    for name, field in model.model_fields.items():
        key = section + (field.alias or name)
        yield key, field
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys_of(kind, f"{key}.")


def test_the_kiwi_schema_is_the_paper_s():
    kiwi = load_labels("kiwi")
    pairs = sum(len(tails) for tails in kiwi.pairs.values())
    assert (len(kiwi.main), len(kiwi.modifier), pairs) == (4, 16, 22)


def test_the_generated_page_of_the_command_line_is_current():
    page = runpy.run_path(str(ROOT / "docs" / "generate.py"))["cli_page"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == page, "run `make docs`"
