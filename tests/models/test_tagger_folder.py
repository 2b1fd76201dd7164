"""A tagger's folder and its engine: what changes answers, what is missing, and lack of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.extractors import extractor_config
from spanlake.errors import ConfigError, ModelError
from spanlake.models import load_extractor, model_fingerprint
from spanlake.models.decoding import Calibration
from spanlake.models.loading import bundled
from spanlake.models.tagger.engines import OpenVino
from spanlake.models.tagger.folder import ANSWER_OPTIONS

OTHERWISE = {
    "max_tokens": 200,
    "stride": 32,
    "max_pair_distance": 19,
    "entity_threshold": 0.3,
    "pair_threshold": 0.6,
    "relation_threshold": 0.3,
    "calibration": {"tags": [1.2, 1.1], "pairs": 2.0},
    "precision": "fp32",
}

# A batch for which the address space has no room, then small ones, then with room again.
SHORT_OF_MEMORY = """
import resource
from pathlib import Path
import numpy as np
from spanlake.models.loading import bundled
from spanlake.models.tagger.engines import OpenVino

def batch(seed, *shape):
    return np.random.default_rng(seed).integers(1000, 20000, shape)

def encode(ids):
    return engine.encode(ids, np.ones_like(ids))[0]

engine = OpenVino(bundled(), threads=1, links=True)
small = batch(2, 4, 64)
right = encode(small)
encode(batch(0, 4, 64))
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + 30_000_000
before = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (room, before[1]))
for ids in (batch(1, 240, 256), batch(1, 240, 256), small):
    try:
        print(np.array_equal(encode(ids), right))
    except MemoryError:
        print("MemoryError")
resource.setrlimit(resource.RLIMIT_AS, before)
print(np.array_equal(encode(small), right))
"""


def test_every_option_that_changes_answers_changes_the_fingerprint() -> None:
    assert OTHERWISE.keys() == set(ANSWER_OPTIONS)
    configs = [extractor_config(**{name: value}) for name, value in OTHERWISE.items()]
    found = {model_fingerprint(config) for config in (extractor_config(), *configs)}
    assert len(found) == 1 + len(OTHERWISE)


def test_temperatures_of_a_configuration_stand_for_the_model_s_own() -> None:
    given = {"tags": [1.2, 1.1], "pairs": 2.0}
    own = load_extractor(extractor_config(device="cpu")).calibration
    twice = extractor_config(models=("small", "small"), device="cpu")
    assert load_extractor(twice).calibration == own  # the mean of its members'
    scaled = extractor_config(models=("small", "small"), calibration=given, device="cpu")
    assert load_extractor(scaled).calibration == Calibration((1.2, 1.1), 2.0) != own
    with pytest.raises(ConfigError, match=r"extractor\.calibration\.tags: kiwi has 2 layers"):
        model_fingerprint(extractor_config(calibration={"tags": [1.2]}))


def test_a_longer_window_than_was_trained_is_no_other_reading() -> None:
    longer = extractor_config(max_tokens=512)
    assert model_fingerprint(longer) == model_fingerprint(extractor_config())


def test_a_folder_without_its_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    for path in bundled().iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing: copy the whole folder"):
        model_fingerprint(extractor_config(model=str(tmp_path)))


def test_a_folder_that_is_no_model_is_told_so_in_the_words_of_its_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a tagger model that Spanlake trained$"):
        load_extractor(extractor_config(model=str(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_batch_that_memory_does_not_suffice_for_raises_and_spoils_no_other() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY], capture_output=True, text=True, check=True
    )
    *large, small, later = run.stdout.splitlines()
    assert large == ["MemoryError"] * 2 and small in ("True", "MemoryError") and later == "True"


@pytest.mark.slow
def test_padding_beyond_a_window_of_attention_spoils_no_words(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    import transformers

    from spanlake.models.tagger.export import export
    from spanlake.models.tagger.module import OnePass, Shape

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    tokens = {f"{name}_token_id": i for i, name in enumerate(("pad", "bos", "eos", "cls", "sep"))}
    config = transformers.ModernBertConfig(
        vocab_size=300, num_hidden_layers=4, local_attention=16, **sizes, **tokens
    )
    shape = Shape(tags=(3, 3), relations=1, pair_features=4, dropout=0.0)
    module = OnePass(transformers.ModernBertModel(config), shape).eval()
    export(module, tmp_path)
    ids = np.random.default_rng(0).integers(5, 300, (2, 64))
    mask = np.ones_like(ids)
    mask[1, 20:] = 0
    with torch.inference_mode():
        expected = module(torch.from_numpy(ids), torch.from_numpy(mask))[0].numpy()
    found = OpenVino(tmp_path, threads=1, links=True).encode(ids, mask)[0]
    words = mask.astype(bool)
    assert np.allclose(found[words], expected[words], atol=5e-3)
