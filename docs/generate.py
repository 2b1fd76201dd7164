"""Write the reference pages that are made from the code: docs/cli.md (`make docs`)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal's width

from spanlake.cli import build_parser

FOLDER = Path(__file__).resolve().parent


def cli_page() -> str:
    """Return the help of `spanlake` and of every verb as one page."""
    parser = build_parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: str(action.help) for action in verbs._choices_actions}
    parts = [
        "# Command line\n\nFor: whoever runs a command. Kind: reference, generated from the code"
        " (`make docs`).\n",
        f"```\n{parser.format_help().rstrip()}\n```\n",
    ]
    for name, verb in verbs.choices.items():
        if name in helps:  # an alias is not listed by itself
            parts.append(f"## {name}\n\n```\n{verb.format_help().rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (FOLDER / "cli.md").write_text(cli_page(), encoding="utf-8")
