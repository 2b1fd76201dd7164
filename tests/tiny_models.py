"""A tiny BERT, made here from a configuration and words of our own: nothing is downloaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spanlake.core.bio import tag_names
from spanlake.core.labels import load_labels
from spanlake.models.checkpoints import parts_of
from spanlake.models.loading import file_digests, write_manifest

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCES = (
    "Patient denies chest pain or shortness of breath.",
    "Mild left pleural effusion seen on chest x-ray.",
    "Metformin 500 mg by mouth twice daily for diabetes mellitus.",
    "Blood pressure 120/80, pulse 72, temperature 98.6.",
    "She underwent cholecystectomy in 2015 without complications.",
    "Possible pneumonia; started on azithromycin for five days.",
)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without a head: two layers of BERT with 64 positions and random weights."""
    transformers = pytest.importorskip("transformers", reason="make setup")
    folder = tmp_path_factory.mktemp("tiny_base")
    tokenizer = _tokenizer()
    transformers.set_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose three heads are random: it finds much, all of it nonsense."""
    import torch
    import transformers

    from spanlake.models.network import load_weights
    from spanlake.models.tokenization import checkpoint_tokenizer
    from spanlake.training.bert import pair_classes

    labels = load_labels("kiwi")
    top = tmp_path_factory.mktemp("tiny_bert")
    transformers.set_seed(11)
    heads = {
        "main": ("words", tag_names(labels.main)),
        "modifier": ("words", tag_names(labels.modifier)),
        "relation": ("pairs", pair_classes(labels)),
    }
    for part, (head, classes) in heads.items():
        model = load_weights(tiny_base, head, classes)
        torch.nn.init.normal_(model.classifier.weight, std=1.0)  # else all words get one tag
        model.save_pretrained(top / part)
        checkpoint_tokenizer(tiny_base).save_pretrained(top / part)
    write_manifest(top, "bert", labels, {}, file_digests(parts_of(top)))
    return top


def _tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = _vocabulary()
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        **{f"{name.strip('[]').lower()}_token": name for name in SPECIAL},
    )


def _vocabulary() -> dict[str, int]:
    """Short words whole, others by the letter; a trained vocabulary is numbered by chance."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = sorted(set(re.findall(r"[a-z]{2,5}", " ".join(SENTENCES).lower())))
    alone = [*letters, *"0123456789.,;/@$#^\u2026"]
    inside = [f"##{piece}" for piece in (*letters, *"0123456789", "in", "ion", "tion", "ing")]
    return {piece: i for i, piece in enumerate((*SPECIAL, *alone, *inside, *words))}


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model: two layers of LLaMA with random weights, byte-level subwords."""
    transformers = pytest.importorskip("transformers", reason="make setup")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tiny_llama")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*SENTENCES, "<problem> </problem> B-problem\t"], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    transformers.set_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data *= 3  # sharper than a fresh model: few ties, varied answers
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
