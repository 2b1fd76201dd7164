"""Training of adapters: answers as ids, saving, resuming, and what is refused."""

from __future__ import annotations

import json

import pytest

from gold_notes import NOTES
from spanlake.config.extractors import extractor_config
from spanlake.config.train import LlamaTrainConfig
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError, ModelError
from spanlake.models import load_extractor

peft = pytest.importorskip("peft", reason="make setup")
torch = pytest.importorskip("torch", reason="make setup")

from spanlake.models.llama.prompts import Prompts  # noqa: E402
from spanlake.models.tokenization import checkpoint_tokenizer  # noqa: E402
from spanlake.training.examples import examples_of  # noqa: E402
from spanlake.training.leakage import text_hashes  # noqa: E402
from spanlake.training.qlora import IGNORED, answers_of, train_llama  # noqa: E402

KIWI = load_labels("kiwi")


def config(tiny_llama, folder, **options):
    values = {
        "kind": "llama_markup",
        "model": str(tiny_llama),
        "train_data": "unused",
        "output_dir": str(folder),
        "max_steps": 4,
        "save_steps": 2,
        "max_tokens_per_batch": 512,
        "learning_rate": 1e-2,
    }
    return LlamaTrainConfig.model_validate(values | options)


@pytest.mark.parametrize("kind", ["llama_markup", "llama_bio"])
def test_an_answer_says_what_the_gold_says(tiny_llama, kind):
    tokenizer = checkpoint_tokenizer(tiny_llama, add_prefix_space=False)
    prompts = Prompts(tokenizer, KIWI, kind, "short")
    examples, _ = examples_of(NOTES)
    features, counts = answers_of(examples, prompts, 512)
    assert len(features) == counts.total()
    assert counts["main entities"] == len(examples)
    for feature in features:
        answer = [i for i in feature["labels"] if i != IGNORED]
        assert feature["input_ids"][-len(answer) :] == answer
        assert answer[-1] == tokenizer.eos_token_id
    text = "\n".join(tokenizer.decode([i for i in f["labels"] if i >= 0]) for f in features)
    entity = next(e for n in NOTES for e in n.annotation.entities if e.label in KIWI.main)
    first = entity.text.split()[0]
    assert (
        f"<{entity.label}> {first}" in text
        or f"<{entity.label}>{first}" in text
        or (f"{first}\tB-{entity.label}" in text)
    )


def test_training_lowers_the_loss_and_its_adapter_is_read(tiny_llama, tmp_path):
    metrics = train_llama(NOTES, NOTES, config(tiny_llama, tmp_path / "m", max_steps=8))
    losses = metrics["loss_by_epoch"]
    assert losses[-1] < losses[0]
    assert metrics["eval"]["notes"] == len(NOTES)
    files = {path.name for path in (tmp_path / "m").iterdir()}
    assert files == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "metrics.json",
        "spanlake.json",
    }
    values = {"kind": "llama_markup", "model": str(tmp_path / "m"), "device": "cpu"}
    extractor = load_extractor(extractor_config(**values))
    assert extractor.training_text_hashes == text_hashes(NOTES)
    base = load_extractor(extractor_config(kind="llama_markup", model=str(tiny_llama)))
    assert extractor.fingerprint != base.fingerprint
    again = train_llama(NOTES, [], config(tiny_llama, tmp_path / "m", max_steps=8))
    assert again["loss_by_epoch"] == losses


def test_a_killed_training_resumes_and_ends_as_an_undisturbed_one(
    tiny_llama, tmp_path, monkeypatch
):
    from spanlake.training import qlora

    whole = train_llama(NOTES, [], config(tiny_llama, tmp_path / "whole"))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(qlora, "_save_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        train_llama(NOTES, [], config(tiny_llama, tmp_path / "killed"))
    monkeypatch.undo()
    last = max((tmp_path / "killed" / ".training").glob("checkpoint-*"))
    (last / "trainer_state.json").unlink()  # as a kill during the last save leaves it
    resumed = train_llama(NOTES, [], config(tiny_llama, tmp_path / "killed"))
    assert resumed["steps"] == whole["steps"]
    digests = [
        json.loads((tmp_path / name / "spanlake.json").read_text())["files"]
        for name in ("whole", "killed")
    ]
    assert digests[0]["adapter_config.json"] == digests[1]["adapter_config.json"]
    weights = [peft.utils.load_peft_weights(str(tmp_path / name)) for name in ("whole", "killed")]
    for name, weight in weights[0].items():
        assert torch.allclose(weight, weights[1][name], atol=1e-5), name


def test_an_adapter_over_nf4_is_trained_and_read_on_a_cpu(tiny_llama, tmp_path):
    pytest.importorskip("bitsandbytes", reason="make setup")
    made = config(
        tiny_llama, tmp_path / "m", quantization="nf4", activation_checkpointing=True, max_steps=2
    )
    assert train_llama(NOTES, NOTES[:1], made)["eval"]["notes"] == 1
    adapter = peft.utils.load_peft_weights(str(tmp_path / "m"))
    assert any(name.endswith("lora_B.weight") and w.abs().max() > 0 for name, w in adapter.items())


def test_another_base_changed_adapter_and_other_kind_are_refused(tiny_llama, tmp_path):
    train_llama(NOTES, [], config(tiny_llama, tmp_path / "m", max_steps=1))
    values = {"kind": "llama_markup", "model": str(tmp_path / "m"), "device": "cpu"}
    with pytest.raises(ModelError, match="kind is 'llama_markup', expected 'llama_bio'"):
        load_extractor(extractor_config(**(values | {"kind": "llama_bio"})))
    with pytest.raises(ModelError, match="not the base"):
        load_extractor(extractor_config(**values, base=str(tmp_path)))
    with pytest.raises(ConfigError, match="another recipe"):
        train_llama(NOTES, [], config(tiny_llama, tmp_path / "m", max_steps=2))
    adapter = tmp_path / "m" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"\1")
    with pytest.raises(ModelError, match="not the one that was trained"):
        load_extractor(extractor_config(**values))
