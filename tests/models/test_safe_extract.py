"""One unreadable text costs no other its answer, and no message quotes a note."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, Extraction, Relation, Span, Unit, entity_at
from spanlake.errors import TransientError
from spanlake.models.safe_extract import extract_safely
from spanlake.models.stats import Stats

SECRET = "POISON Mr. Nobody"


class Stub:
    """Answers with the target's first character; `read` may raise on a target instead."""

    labels = load_labels("kiwi")
    fingerprint = "stub"
    device = "cpu"

    def __init__(self, read: Callable[[str], None] = lambda target: None) -> None:
        self.read = read
        self.sizes: list[int] = []
        self.stats = Stats()

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        self.sizes.append(len(units))
        for unit in units:
            self.read(unit.target)
        return [answer(unit) for unit in units]

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        raise NotImplementedError


def answer(unit: Unit) -> Extraction:
    return Extraction("ok", (entity_at(unit.target, 0, 1, "problem"),), chars_seen=len(unit.target))


def raising(error: BaseException) -> Callable[[str], None]:
    def read(target: str) -> None:
        if target.startswith("POISON"):
            raise error

    return read


def units_with_poison(count: int, *poisoned: int) -> list[Unit]:
    return [Unit(SECRET if i in poisoned else f"{i} text") for i in range(count)]


@pytest.mark.parametrize("place", [0, 16, 32])
def test_one_poisoned_unit_among_33_fails_alone(place: int) -> None:
    units = units_with_poison(33, place)
    stub = Stub(raising(ValueError(f"cannot read {SECRET}")))
    answers = extract_safely(stub, units)
    assert answers[place] == Extraction("unreadable", error_class="ValueError")
    assert [a for i, a in enumerate(answers) if i != place] == [
        answer(unit) for i, unit in enumerate(units) if i != place
    ]


def test_the_number_of_calls_grows_with_the_logarithm_of_the_units() -> None:
    stub = Stub(raising(ValueError()))
    extract_safely(stub, units_with_poison(1024, 700))
    assert len(stub.sizes) == 1 + 2 * math.log2(1024)


def test_a_batch_without_trouble_is_one_call() -> None:
    stub = Stub()
    assert len(extract_safely(stub, units_with_poison(33))) == 33
    assert stub.sizes == [33]


def test_no_units_are_no_call() -> None:
    stub = Stub()
    assert extract_safely(stub, []) == []
    assert stub.sizes == []


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_exactly_the_poisoned_units_fail_and_order_is_kept(case: tuple[int, set[int]]) -> None:
    count, poisoned = case
    units = units_with_poison(count, *poisoned)
    answers = extract_safely(Stub(raising(KeyError(SECRET))), units)
    assert [a.outcome == "unreadable" for a in answers] == [i in poisoned for i in range(count)]
    assert all(a == answer(u) for a, u in zip(answers, units, strict=True) if a.outcome == "ok")


def test_no_note_text_shows_in_extractions_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answers = extract_safely(Stub(raising(ValueError(SECRET))), units_with_poison(5, 2))
    shown = repr(answers) + caplog.text
    assert "Nobody" not in shown
    assert "ValueError at test_safe_extract.py:" in caplog.text
    assert len(caplog.records) == 1


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), "transient"),
        (TransientError("busy"), "transient"),
        (TimeoutError(), "transient"),
        (OutOfMemoryError("CUDA out of memory."), "transient"),
        (RuntimeError("shape mismatch"), "unreadable"),
        (RecursionError(), "unreadable"),
        (ValueError("CUDA error is what this note is about"), "unreadable"),
    ],
)
def test_what_may_pass_another_time_is_transient(error: Exception, outcome: str) -> None:
    [first, second] = extract_safely(Stub(raising(error)), units_with_poison(2, 1))
    assert first.outcome == "ok"
    assert (second.outcome, second.error_class) == (outcome, type(error).__name__)


class AcceleratorError(RuntimeError):
    """Named as torch's."""


class LaterError(AcceleratorError):
    """A kind of it."""


@pytest.mark.parametrize(
    "error",
    [
        AcceleratorError("device-side assert"),
        LaterError(),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
)
def test_a_lost_device_and_an_interrupt_are_raised_at_once(error: BaseException) -> None:
    stub = Stub(raising(error))
    with pytest.raises(type(error)) as caught:
        extract_safely(stub, units_with_poison(8, 5))
    assert caught.value is error
    assert stub.sizes == [8]


class Shifted(Stub):
    """Answers right, but for poisoned units with offsets that are one off."""

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        wrong = Extraction("ok", (Entity(Span(1, 2), "problem", "P"),))
        return [wrong if unit.target == SECRET else answer(unit) for unit in units]


def test_an_entity_beside_its_text_fails_its_unit_alone(caplog: pytest.LogCaptureFixture) -> None:
    answers = extract_safely(Shifted(), units_with_poison(4, 1))
    assert [a.error_class for a in answers] == [None, "OffsetError", None, None]
    assert answers[1] == Extraction("unreadable", error_class="OffsetError")
    assert "Nobody" not in caplog.text


class Reversed(Stub):
    """Answers in the wrong order."""

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        return super().extract(units)[::-1]


def test_answers_in_the_wrong_order_do_not_pass_for_answers() -> None:
    letters = [Unit(letter) for letter in "abcd"]
    assert {a.error_class for a in extract_safely(Reversed(), letters)} == {"OffsetError"}


class Short(Stub):
    """Loses its last answer when asked for more than two."""

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        answers = super().extract(units)
        return answers[:-1] if len(units) > 2 else answers


def test_a_wrong_number_of_answers_is_raised_and_quotes_nothing() -> None:
    with pytest.raises(RuntimeError, match="Short returned 4 extractions for 5 units"):
        extract_safely(Short(), units_with_poison(5))


def test_a_wrong_number_of_answers_in_a_half_is_raised_without_the_first_error() -> None:
    stub = Short(raising(ValueError(SECRET)))
    with pytest.raises(RuntimeError, match="2 extractions for 3 units") as caught:
        extract_safely(stub, units_with_poison(7, 6))
    assert caught.value.__context__ is None


def test_failures_that_the_extractor_reports_itself_are_kept() -> None:
    reported = Extraction("transient", error_class="TransientError")

    class Reporting(Stub):
        def extract(self, units: Sequence[Unit]) -> list[Extraction]:
            return [reported for _ in units]

    assert extract_safely(Reporting(), units_with_poison(3)) == [reported] * 3


def test_the_answers_do_not_depend_on_where_the_poison_lies() -> None:
    texts = [f"{i} text" for i in range(20)] + [SECRET] * 3
    random.Random(7).shuffle(texts)
    stub = Stub(raising(ValueError()))
    together = extract_safely(stub, [Unit(text) for text in texts])
    assert together == [extract_safely(stub, [Unit(text)])[0] for text in texts]
