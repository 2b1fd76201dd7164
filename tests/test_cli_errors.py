from __future__ import annotations

import argparse

import pytest

from spanlake.cli import config_parser, run_reporting_errors
from spanlake.config.extract import IngestConfig
from spanlake.errors import DataError


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
    assert run_reporting_errors(_raising(error), argparse.Namespace()) == 1
    assert said in capsys.readouterr().err


def test_the_help_of_a_job_names_its_configurations_and_keys(capsys) -> None:
    made = config_parser("First line.\n\npython jobs/x.py", "conf/ingest_*.yml", IngestConfig)
    with pytest.raises(SystemExit):
        made.parse_args(["-h"])
    told = capsys.readouterr().out
    assert "\nFirst line.\n\npython jobs/x.py\n" in told
    assert "conf/ingest_*.yml" in told and "docs/configuration.md" in told
    for key in ("tables.schema", "source.where", "removed_share"):
        assert f" {key}" in told


def test_a_file_that_cannot_be_had_is_one_line(capsys) -> None:
    error = FileNotFoundError(2, "No such file or directory", "x.yml")
    assert run_reporting_errors(_raising(error), argparse.Namespace()) == 1
    told = "x.yml: No such file or directory (FileNotFoundError)\n"
    assert capsys.readouterr().err == told
    with pytest.raises(OSError, match="no file of ours"):
        run_reporting_errors(_raising(OSError("no file of ours")), argparse.Namespace())


def test_a_missing_module_that_no_extra_brings_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        run_reporting_errors(
            _raising(ModuleNotFoundError(name="spanlake.nowhere")), argparse.Namespace()
        )
