from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from pretrain_encoder import (
    MaskedTrainer,
    PretrainConfig,
    WordMasker,
    masking_features,
    pretrain,
)
from spanlake.core.bio import words
from spanlake.core.types import Note
from spanlake.errors import ConfigError
from spanlake.models.network import load_checkpoint
from spanlake.models.tokenization import load_word_tokenizer
from spanlake.training.trainer import training_arguments
from unlabelled_notes import write_unlabelled

NOTE = Note("n", "Chest pain, cholecystectomy.\nFever and chills. " + "Pulse is regular. " * 20)


def _config(base: Path, to: Path, **options) -> PretrainConfig:
    values = {
        "model": str(base),
        "output_dir": str(to),
        "max_tokens": 32,
        "max_tokens_per_batch": 128,
    }
    return PretrainConfig.model_validate(values | options)


def test_pretraining_lowers_the_loss_and_writes_a_checkpoint(
    tiny_base: Path, tmp_path: Path
) -> None:
    options = write_unlabelled(tmp_path) | {"epochs": 40, "learning_rate": 1e-2}
    metrics = pretrain(_config(tiny_base, tmp_path / "made", **options))
    assert metrics["loss_by_epoch"][-1] < 0.8 * metrics["loss_by_epoch"][0]
    model, missing = load_checkpoint(transformers.AutoModel, tmp_path / "made")
    assert not missing
    base, _ = load_checkpoint(transformers.AutoModel, tiny_base)
    assert not torch.equal(*[m.embeddings.word_embeddings.weight for m in (model, base)])
    assert pretrain(_config(tiny_base, tmp_path / "made", **options)) == metrics  # not made again
    with pytest.raises(ConfigError, match="another recipe"):
        pretrain(_config(tiny_base, tmp_path / "made", **(options | {"seed": 1})))
    assert {"metrics.json", "model.safetensors"} <= {p.name for p in (tmp_path / "made").iterdir()}


def test_excluded_notes_are_not_read(tiny_base: Path, tmp_path: Path) -> None:
    source = write_unlabelled(tmp_path)
    some = pretrain(_config(tiny_base, tmp_path / "a", epochs=1, **source))
    all_of_them = pretrain(
        _config(tiny_base, tmp_path / "b", epochs=1, **(source | {"exclude_ids_file": None}))
    )
    assert some["notes"] == all_of_them["notes"] - 1


def test_features_hold_all_subwords_in_order_and_newlines(tiny_base: Path) -> None:
    pieces = load_word_tokenizer(tiny_base)
    features = masking_features([NOTE], pieces, limit=30)
    assert max(len(feature["input_ids"]) for feature in features) <= 32
    real = [np.array(feature["input_ids"])[feature["word"] >= 0].tolist() for feature in features]
    text = NOTE.note_text
    own = pieces.of(text[word.start : word.end] for word in words(text))
    assert list(chain(*real)) == list(chain(*own))
    newline = pieces.after[0]
    assert sum(f["input_ids"][1:-1].count(newline) for f in features) == 1


def test_whole_words_are_hidden_and_only_they_have_labels(tiny_base: Path) -> None:
    torch.manual_seed(0)
    pieces = load_word_tokenizer(tiny_base)
    features = masking_features([NOTE], pieces, limit=30)
    masker = WordMasker(mask_id=4, pad_id=pieces.pad, vocabulary=100, probability=0.5)
    batch = masker(features)
    ids, labels = batch["input_ids"], batch["labels"]
    for row, feature in enumerate(features):
        hidden = labels[row, : len(feature["word"])] != -100
        for word in range(int(feature["word"].max()) + 1):
            of_word = torch.from_numpy(feature["word"] == word)
            assert len(set(hidden[of_word].tolist())) <= 1, "a word is hidden whole or not at all"
        assert not hidden[torch.from_numpy(feature["word"] == -1)].any()
        real = torch.tensor(feature["input_ids"])
        assert torch.equal(ids[row, : len(real)][~hidden], real[~hidden])
        assert torch.equal(labels[row, : len(real)][hidden], real[hidden])
    chosen = labels != -100
    assert 0.3 < chosen.sum() / batch["attention_mask"].sum() < 0.6
    kept = (ids == labels)[chosen].float().mean()
    assert 0.0 < kept < 0.3
    assert (ids[chosen] == 4).float().mean() + kept < 1.0, "some become any other piece"
    assert 0.65 < (ids[chosen] == 4).float().mean() < 0.95


def test_the_loss_is_that_of_the_whole_model(tiny_base: Path, tmp_path: Path) -> None:
    transformers.set_seed(3)
    model, _ = load_checkpoint(transformers.AutoModelForMaskedLM, tiny_base)
    pieces = load_word_tokenizer(tiny_base)
    masker = WordMasker(
        mask_id=4, pad_id=pieces.pad, vocabulary=len(pieces.of(["a"])), probability=0.3
    )
    batch = masker(masking_features([NOTE], pieces, limit=30))
    trainer = MaskedTrainer(model=model, args=training_arguments(tmp_path, bf16=False, seed=1))
    loss = trainer.compute_loss(model.train(), batch)
    assert torch.allclose(loss, model.eval()(**batch).loss, atol=1e-5)


def test_a_resumed_pretraining_gives_the_same_weights(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write_unlabelled(tmp_path) | {"epochs": 3, "learning_rate": 1e-2}
    pretrain(_config(tiny_base, tmp_path / "whole", **options))

    def killed(self, args, state, control, **_):
        if state.epoch and state.epoch >= 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(transformers.TrainerCallback, "on_epoch_begin", killed)
        pretrain(_config(tiny_base, tmp_path / "broken", **options))
    assert list((tmp_path / "broken" / ".training").glob("checkpoint-*"))
    metrics = pretrain(_config(tiny_base, tmp_path / "broken", **options))
    assert len(metrics["loss_by_epoch"]) == 3
    weights = [(tmp_path / x / "model.safetensors").read_bytes() for x in ("whole", "broken")]
    assert weights[0] == weights[1]
