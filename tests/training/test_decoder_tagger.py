"""A tagger over a decoder language model: what a word sees, adapters, and reading it back."""

from __future__ import annotations

import json

import pytest
from tiny_training import tiny_config

from gold_notes import NOTES
from spanlake.config.extractors import extractor_config
from spanlake.core.labels import load_labels
from spanlake.core.types import Unit
from spanlake.errors import ConfigError, ModelError
from spanlake.models import load_extractor

torch = pytest.importorskip("torch", reason="make setup")
pytest.importorskip("peft", reason="make setup")

from spanlake.models.tagger.folder import load_module  # noqa: E402
from spanlake.training.tagger import load_base_model, train_tagger  # noqa: E402

KIWI = load_labels("kiwi")
UNITS = [Unit(gold.note.note_text) for gold in NOTES]


def trained(tiny_llama, folder, **options):
    options = {"epochs": 5, "relation_head_epochs": 1, "lora_rank": 2} | options
    config = tiny_config(tiny_llama, folder, **options)
    metrics = train_tagger(NOTES, NOTES, config)
    return metrics, load_extractor(extractor_config(model=str(folder), device="cpu"))


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "full"},
        {"attention": "upper"},
        {"attention": "causal", "lora_rank": None},
        {"attention": "twice"},
        {"attention": "full", "quantization": "nf4"},
    ],
    ids=["full", "upper", "causal", "twice", "nf4"],
)
def test_a_trained_model_gives_its_answers_again(tiny_llama, tmp_path, options):
    if "quantization" in options:
        pytest.importorskip("bitsandbytes", reason="make setup")
    metrics, extractor = trained(tiny_llama, tmp_path / "m", **options)
    assert metrics["loss_by_epoch"][-1] < metrics["loss_by_epoch"][0]
    assert metrics["eval"]["notes"] == len(NOTES)
    first = extractor.extract(UNITS)
    for unit, answer in zip(UNITS, first, strict=True):
        answer.check(unit)
    again = load_extractor(extractor_config(model=str(tmp_path / "m"), device="cpu"))
    assert again.extract(UNITS) == first
    assert again.fingerprint == extractor.fingerprint
    manifest = json.loads((tmp_path / "m" / "spanlake.json").read_text())
    assert manifest["decoder"]["attention"] == options["attention"]


@pytest.mark.parametrize(
    ("attention", "sees"), [("full", True), ("upper", True), ("causal", False)]
)
def test_what_a_word_sees(tiny_llama, tmp_path, attention, sees):
    config = tiny_config(tiny_llama, tmp_path / "m", attention=attention)
    module, tokenizer = load_base_model(str(tiny_llama), KIWI, 0.0, config)
    ids = tokenizer.wrap([i for word in tokenizer.of(["chest", "pain", "denies"]) for i in word])
    other = [*ids[:-1], ids[-1] - 1]
    with torch.no_grad():
        states = [
            module.eval()(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))[1][0, 0]
            for row in (ids, other)
        ]
    assert (not torch.allclose(*states)) == sees


def test_padding_changes_nothing(tiny_llama, tmp_path):
    for attention in ("full", "upper", "causal"):
        config = tiny_config(tiny_llama, tmp_path / "m", attention=attention)
        module, _ = load_base_model(str(tiny_llama), KIWI, 0.0, config)
        ids = torch.tensor([[5, 6, 7, 0, 0], [5, 6, 7, 8, 9]])
        mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
        with torch.no_grad():
            padded = module.eval()(ids, mask)[1][0, :3]
            alone = module(ids[:1, :3], mask[:1, :3])[1][0]
        assert torch.allclose(padded, alone, atol=1e-5), attention


def test_only_the_adapter_and_the_heads_are_saved(tiny_llama, tmp_path):
    trained(tiny_llama, tmp_path / "m")
    module = load_module(tmp_path / "m")
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    assert frozen and not any("lora_" in name for name in frozen)
    size = (tmp_path / "m" / "model.safetensors").stat().st_size
    assert size < (tiny_llama / "model.safetensors").stat().st_size


def test_what_does_not_fit_is_refused(tiny_llama, tiny_base, tmp_path):
    with pytest.raises(ConfigError, match="options of decoders only"):
        load_base_model(
            str(tiny_base), KIWI, 0.0, tiny_config(tiny_base, tmp_path / "m", lora_rank=2)
        )
    with pytest.raises(ValueError, match="give lora_rank"):
        tiny_config(tiny_llama, tmp_path / "m", quantization="nf4")
    trained(tiny_llama, tmp_path / "m")
    manifest = tmp_path / "m" / "spanlake.json"
    content = json.loads(manifest.read_text())
    content["decoder"]["base"]["files"]["config.json"] = "0"
    manifest.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="not the base"):
        load_extractor(extractor_config(model=str(tmp_path / "m"), device="cpu"))
