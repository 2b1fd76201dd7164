from __future__ import annotations

import argparse

import pytest

from spanlake.core.errors import DataError
from spanlake.spark.arguments import run_job


def _raising(error: Exception):
    def job(_: argparse.Namespace) -> int:
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DataError("no notes"), "DataError: no notes"),
        (
            ModuleNotFoundError(name="torch"),
            "torch not installed: in the checkout run `make setup`",
        ),
    ],
)
def test_an_error_of_the_user_s_is_one_line_and_exit_code_1(error, said, capsys) -> None:
    assert run_job(_raising(error), argparse.Namespace()) == 1
    assert said in capsys.readouterr().err


def test_a_missing_module_that_no_extra_brings_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        run_job(_raising(ModuleNotFoundError(name="spanlake.nowhere")), argparse.Namespace())
