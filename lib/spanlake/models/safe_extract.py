"""The wall around an extractor: one unreadable text never costs the others their answers."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from spanlake.core.types import Extraction, Unit, failed
from spanlake.errors import OffsetError, TransientError
from spanlake.models import Extractor
from spanlake.models.devices import mark_lost

logger = logging.getLogger(__name__)

# The disk and the packages are the machine's, not the text's.
TRANSIENT = (MemoryError, OSError, ImportError, TransientError)


def extract_safely(extractor: Extractor, units: Sequence[Unit]) -> list[Extraction]:
    """Return one extraction per unit, in order, whatever single units do to the extractor.

    When `extract` raises, the units are halved until those that it cannot read stand alone; they
    become failed extractions that name the error's class, and its message, which may quote the
    note, is dropped. An entity that is not what its offsets say fails its unit alone.

    Raises RuntimeError when the extractor returns a wrong number of answers, and raises the
    extractor's own error again when the device is lost: no later unit could be read there, and the
    next process takes another GPU.
    """
    if not units:
        return []
    answers = _attempt(extractor, units)
    if answers is None:
        # Not inside the except clause: its traceback would keep a failed batch's memory alive.
        middle = len(units) // 2
        halves = units[:middle], units[middle:]
        return [answer for half in halves for answer in extract_safely(extractor, half)]
    if len(answers) != len(units):
        raise RuntimeError(
            f"{type(extractor).__name__} returned {len(answers)} extractions"
            f" for {len(units)} units; it must return one per unit, in order"
        )
    return [_checked(answer, unit) for answer, unit in zip(answers, units, strict=True)]


def extract_encodable(
    units: Sequence[Unit], read: Callable[[list[Unit]], list[Extraction]]
) -> list[Extraction]:
    """Return ``read``'s answers to units; one whose target no tokenizer can take has failed."""
    answers: dict[int, Extraction] = {}
    readable: list[int] = []
    for i, unit in enumerate(units):
        try:
            unit.target.encode("utf-8")
            readable.append(i)
        except UnicodeEncodeError as error:  # a lone surrogate is no character
            answers[i] = failed(error)
    extractions = read([units[i] for i in readable])
    answers.update(zip(readable, extractions, strict=True))
    return [answers[i].check(unit) for i, unit in enumerate(units)]


def _attempt(extractor: Extractor, units: Sequence[Unit]) -> list[Extraction] | None:
    """Return the answers, one failed one for a single unit, or None where halving may help."""
    try:
        return list(extractor.extract(units))
    except Exception as error:
        if device_is_lost(error):
            mark_lost(error)
            raise
        if len(units) > 1:
            return None
        _log(error)
        return [failed(error, transient=is_transient(error))]


def _checked(answer: Extraction, unit: Unit) -> Extraction:
    try:
        return answer.check(unit)
    except OffsetError as error:
        _log(error)
        return failed(error)


def device_is_lost(error: BaseException) -> bool:
    """Tell whether the accelerator is gone for this process, so that no other unit could pass."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in names or (
        isinstance(error, RuntimeError) and str(error).startswith("CUDA error")
    )


def is_transient(error: BaseException) -> bool:
    """Tell whether the same text may be read another time; torch's own memory error counts too."""
    return isinstance(error, TRANSIENT) or type(error).__name__ == "OutOfMemoryError"


def _log(error: Exception) -> None:
    """Say what failed, and where in the code; an error's message may quote the note."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    logger.warning("a unit could not be read: %s at %s", type(error).__name__, place)
