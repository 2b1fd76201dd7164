from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spanlake.config.extractors import extractor_config
from spanlake.core.types import Unit
from spanlake.errors import ConfigError, ModelError
from spanlake.models.bert import Bert

pytestmark = pytest.mark.model
pytest.importorskip("torch", reason="needs the infer extra")


@pytest.fixture
def copy(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def _load(**options) -> Bert:
    return Bert(extractor_config(**{"kind": "bert", "device": "cpu", **options}))


def test_a_changed_file_is_refused_and_named(copy: Path) -> None:
    config = copy / "modifier" / "config.json"
    config.write_text(config.read_text().replace("B-uncertain", "B-certain"))
    with pytest.raises(ModelError, match=r"modifier/config\.json .*sha256 differs"):
        _load(model=str(copy))


def test_a_missing_and_an_added_file_are_refused_and_named(copy: Path) -> None:
    (copy / "main" / "added_tokens.json").write_text("{}")
    with pytest.raises(ModelError, match=r"main/added_tokens\.json is not in spanlake\.json"):
        _load(model=str(copy))
    (copy / "main" / "added_tokens.json").unlink()
    (copy / "main" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"main/model\.safetensors is missing"):
        _load(model=str(copy))


def test_another_label_set_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "spanlake.json").read_text())
    manifest["labels_sha256"] = "0" * 64
    (copy / "spanlake.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="label set 'kiwi' as it stood then"):
        _load(model=str(copy))


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model folder .*/none; .*jobs/train\.py"):
        _load(model=str(tmp_path / "none"))


def test_a_hub_name_that_was_never_downloaded_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"`hf download acme/no-such-model`"):
        _load(main="acme/no-such-model")


def test_a_plain_checkpoint_is_no_model_folder(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match=r"no spanlake\.json.*extractor\.main"):
        _load(model=str(tiny_bert / "main"))


def test_a_checkpoint_without_a_trained_head_is_refused(tiny_base: Path) -> None:
    with pytest.raises(ModelError, match=r"not a model fine-tuned for words.*classifier"):
        _load(main=str(tiny_base))


def test_pickled_weights_are_not_read(tiny_bert: Path, tmp_path: Path) -> None:
    import torch

    folder = shutil.copytree(tiny_bert / "main", tmp_path / "main")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        _load(main=str(folder))


def test_a_relation_model_must_know_a_relation_of_the_label_set(tiny_bert: Path) -> None:
    config = {"labels": "kiwi", "relation": str(tiny_bert / "relation")}
    _load(**config)
    with pytest.raises(ModelError, match="classes: none, hasAttr"):
        _load(**config, label_map={"hasAttr": "O"})


def test_a_label_map_to_an_unknown_label_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="label_map names"):
        _load(main="acme/no-such-model", label_map={"PROB": "probelm"})


def test_a_byte_level_tokenizer_gives_every_word_its_own_pieces(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    import transformers

    from spanlake.models.network import load_weights
    from spanlake.models.tokenization import checkpoint_tokenizer

    tokenizer = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(["chest pain and fever " * 9], 300, special_tokens=special)
    base = tmp_path / "roberta"
    transformers.RobertaTokenizer(
        vocab=tokenizer.get_vocab(), merges=[], model_max_length=62
    ).save_pretrained(base)
    config = transformers.RobertaConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    transformers.RobertaModel(config).save_pretrained(base)
    folder = tmp_path / "main"
    load_weights(base, "words", ["O", "B-test", "I-test"]).save_pretrained(folder)
    checkpoint_tokenizer(base).save_pretrained(folder)

    bert = _load(main=str(folder), max_tokens=64, stride=8)
    network = bert._taggers[0].network
    assert network.limit == 40 - 2 - 2  # positions begin after the padding index
    first, second = network.pieces.of(["pain", "😀"])
    assert network.pieces.backend.decode(first) == " pain"
    assert network.pieces.backend.decode(second) == " 😀"
    text = "chest pain and fever " * 20
    assert bert.extract([Unit(text)])[0].chars_seen == len(text)


def _byte_level(folder: Path, *before: object) -> Path:
    """Write a byte-level tokenizer of no class that transformers knows, as ModernBERT's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, bytewise]) if before else bytewise
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the patient has chest pain and fever "] * 9, trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = '{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}'
    (folder / "tokenizer_config.json").write_text(told)
    (folder / "config.json").write_text('{"model_type": "modernbert"}')
    return folder


def test_a_word_has_the_pieces_that_it_has_in_running_text(tmp_path: Path) -> None:
    from tokenizers.pre_tokenizers import Digits

    from spanlake.models.tokenization import load_word_tokenizer

    pieces = load_word_tokenizer(_byte_level(tmp_path / "plain"))
    [pain] = pieces.of(["pain"])
    assert [pieces.backend.id_to_token(piece) for piece in pain] == ["\u0120pain"]
    with pytest.raises(ModelError, match="otherwise than in running text"):
        load_word_tokenizer(_byte_level(tmp_path / "digits", Digits()))


def test_without_torch_the_extra_to_install_is_named(tiny_bert: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from spanlake.config.extractors import extractor_config\n"
        "from spanlake.errors import ModelError\n"
        "from spanlake.models.bert import Bert\n"
        "try:\n"
        f"    Bert(extractor_config(kind='bert', model={str(tiny_bert)!r}))\n"
        "except ModelError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch and transformers not installed" in run.stdout
    assert "`pip install '.[infer]'`" in run.stdout
