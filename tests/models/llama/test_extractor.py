"""The extractors over a tiny model: offsets, drafts, batches, free answers, and the cascade."""

from __future__ import annotations

import json

import pytest

from spanlake.config.extractors import extractor_config
from spanlake.core.labels import load_labels
from spanlake.core.types import Unit
from spanlake.errors import ConfigError, ModelError
from spanlake.models import load_extractor, model_fingerprint
from spanlake.models.llama import loading
from tiny_models import SENTENCES

pytest.importorskip("torch", reason="make setup")

pytestmark = pytest.mark.model
ODD = ("", "   ", "No <problem>pain</problem>.", "caf\u00e9 \U0001f600\tpain\npain", "pain " * 12)
UNITS = [Unit(text) for text in (*SENTENCES[:3], *ODD)]


@pytest.fixture(params=["llama_markup", "llama_bio"])
def kind(request):
    return request.param


@pytest.fixture
def make(tiny_llama, kind):
    def make(**options):
        values = {"kind": kind, "model": str(tiny_llama), "prompt": "short", "device": "cpu"}
        return load_extractor(extractor_config(**(values | options)))

    return make


def answers(extractor, units=UNITS):
    return [(a.outcome, a.entities, a.relations) for a in extractor.extract(units)]


def places(extractor, units=UNITS):
    return [
        ([e.key for e in a.entities], [(r.head, r.tail, r.label) for r in a.relations])
        for a in extractor.extract(units)
    ]


def test_every_text_has_an_answer_whose_entities_are_slices_of_it(make):
    extractor = make()
    read = extractor.extract(UNITS)
    assert [answer.outcome for answer in read] == ["ok"] * len(UNITS)
    assert sum(len(answer.entities) for answer in read) > 10
    for unit, answer in zip(UNITS, read, strict=True):
        answer.check(unit)
        assert answer.chars_seen == len(unit.target)
        assert 0 <= answer.confidence <= 1
        assert all(0.5 <= e.score <= 1 for e in answer.entities)
    assert extractor.stats.passes and extractor.stats.generated_tokens


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"draft": "none"}, marks=pytest.mark.slow),
        {"draft": {"kind": "dictionary"}},
        {"max_tokens_per_batch": 16},
        {"draft": {"kind": "dictionary"}, "draft_threshold": 1.0, "max_tokens_per_batch": 300},
    ],
)
def test_drafts_and_batches_change_no_answer(make, options):
    assert places(make(**options)) == places(make())


def test_a_draft_of_the_own_answer_needs_one_pass_per_answer(make, monkeypatch):
    own = make()
    expected = own.extract(UNITS)
    calls = own.stats.take().passes
    drafted = make(draft={"kind": "dictionary"}, draft_threshold=0.0)
    monkeypatch.setattr(drafted.drafter, "extract", lambda units: expected)
    assert places(drafted) == places(own)
    assert drafted.stats.passes < calls


@pytest.mark.slow
def test_free_answers_are_read_as_far_as_they_are_legal(make):
    free = make(constrained=False)
    assert [answer.outcome for answer in free.extract(UNITS)] == ["ok"] * len(UNITS)
    assert free.stats.stepped_rows > 0


def test_an_answer_does_not_depend_on_other_texts(make):
    extractor = make()
    alone = [answer for unit in UNITS for answer in places(extractor, [unit])]
    assert alone == places(extractor)


def test_long_texts_are_read_in_windows(make):
    extractor = make(max_tokens=16)
    [answer] = extractor.extract([Unit(" ".join(SENTENCES))])
    answer.check(Unit(" ".join(SENTENCES)))
    assert answer.entities[-1].start > 100


def test_relations_among_given_entities_are_among_them(make):
    extractor = make()
    units = UNITS[:3]
    given = [answer.entities for answer in extractor.extract(units)]
    for entities, relations in zip(given, extractor.score_relations(units, given), strict=True):
        for relation in relations:
            head, tail = entities[relation.head], entities[relation.tail]
            assert extractor.labels.allows(head.label, tail.label)


def test_the_fingerprint_is_that_of_what_can_change_an_answer(tiny_llama, kind):
    config = {"kind": kind, "model": str(tiny_llama)}
    fingerprint = model_fingerprint(extractor_config(**config))
    same = [{"draft": "none"}, {"device": "cpu"}, {"max_tokens_per_batch": 99}]
    other = [{"constrained": False}, {"prompt": "short"}, {"max_tokens": 99}, {"precision": "bf16"}]
    assert {model_fingerprint(extractor_config(**config, **o)) for o in same} == {fingerprint}
    others = {model_fingerprint(extractor_config(**config, **o)) for o in other}
    assert len(others | {fingerprint}) == len(other) + 1


def test_nf4_weights_are_read_on_a_cpu(make):
    pytest.importorskip("bitsandbytes", reason="make setup")
    assert len(make(quantization="nf4").extract(UNITS[:2])) == 2


def test_a_model_that_does_not_fit_is_refused_with_both_numbers(make, monkeypatch):
    monkeypatch.setattr(loading, "free_memory", lambda device: 1000)
    with pytest.raises(ModelError, match=r"needs \d+\.\d GiB on cpu .* 0\.0 GiB are free"):
        make()


def test_needed_memory_is_read_from_the_headers(tiny_llama):
    from safetensors import safe_open

    with safe_open(tiny_llama / "model.safetensors", "pt") as file:
        count = sum(file.get_tensor(name).numel() for name in file.keys())
    full = loading.needed_memory(tiny_llama, "none", 2, 4096, 1024)
    assert full.weights == 2 * count
    assert loading.needed_memory(tiny_llama, "nf4", 2, 4096, 1024).weights < full.weights


def test_pickled_weights_are_refused(tiny_llama, tmp_path, kind):
    for path in tiny_llama.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    config = extractor_config(kind=kind, model=str(tmp_path), device="cpu")
    with pytest.raises(ModelError, match="pickled"):
        load_extractor(config)


def cascade(tiny_llama, **options):
    second = {"kind": "llama_markup", "model": str(tiny_llama), "prompt": "short"}
    return extractor_config(kind="cascade", device="cpu", second=second, **options)


@pytest.mark.slow
def test_a_cascade_gives_the_least_sure_texts_to_the_second_model(tiny_llama):
    pytest.importorskip("openvino", reason="make setup")
    units = UNITS[:3]
    first = load_extractor(extractor_config(device="cpu")).extract(units)
    threshold = sorted(answer.confidence for answer in first)[1]
    both = load_extractor(cascade(tiny_llama, confidence_threshold=threshold))
    read = both.extract(units)
    unsure = [answer.confidence < threshold for answer in first]
    assert [a != b for a, b in zip(read, first, strict=True)] == unsure and sum(unsure) == 1
    assert both.stats.passed_on == 1
    assert both.stats.tokens > 0
    none = load_extractor(cascade(tiny_llama, llm_share=0.0))
    assert none.extract(units) == first
    some = load_extractor(cascade(tiny_llama, llm_share=0.5))
    assert 0 < some.threshold < 1
    every = load_extractor(cascade(tiny_llama, llm_share=1.0))
    every.extract(units)
    assert every.stats.passed_on == len(units)


def test_a_cascade_takes_a_threshold_or_a_share(tiny_llama):
    with pytest.raises(ValueError, match="one of them"):
        cascade(tiny_llama)
    with pytest.raises(ValueError, match="one of them"):
        cascade(tiny_llama, llm_share=0.1, confidence_threshold=0.5)


def test_the_configuration_survives_json(tiny_llama):
    config = cascade(tiny_llama, llm_share=0.5)
    assert extractor_config(**json.loads(config.model_dump_json())) == config
    assert model_fingerprint(config) == model_fingerprint(config.located())
    assert load_labels(config.labels).name == "kiwi"
    with pytest.raises((ConfigError, ValueError), match="draft"):
        extractor_config(kind="llama_bio", model="m", draft="tagger")
