"""The page about the command line, made from the commands themselves.

`python -m hotfill.cli.reference > docs/reference/cli.md`
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING

from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from hotfill.cli import exit_codes
from hotfill.cli.app import app
from hotfill.cli.exit_codes import CODE_OF, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLE = re.compile(r"\x08\nExample:\n  (.+)")

_HEAD = """\
# The command line

<!-- Made by `python -m hotfill.cli.reference > docs/reference/cli.md`; a test compares. -->

Commands of an upgrade take the configuration file as their argument; without one they read
`upgrade.toml` in the current folder. The result goes to stdout, everything else (progress,
questions, errors) to stderr. With `--json` stdout holds exactly one JSON object: the result, or
`{"error": {"kind", "message", "exit_code", ...}}`.
"""


def reference() -> str:
    """Return the page as Markdown."""
    command = get_command(app)
    context = Context(command, info_name="hotfill")
    commands = get_docs_for_click(obj=command, ctx=context, indent=1, name="hotfill")
    commands = commands.replace("```console\n$ ", "```text\n")
    return (
        "\n".join(
            [
                _HEAD,
                _EXAMPLE.sub(r"Example:\n\n```sh\n\1\n```", commands),
                "## Exit codes\n",
                *_codes(),
            ]
        )
        + "\n"
    )


def _codes() -> Iterator[str]:
    meaning = dict(
        re.findall(r"^    (\w+) = \d+  # (.+)$", inspect.getsource(exit_codes), re.MULTILINE)
    )
    yield "| code | meaning | errors |\n|---|---|---|"
    for code in ExitCode:
        kinds = ", ".join(f"`{kind.__name__}`" for kind, value in CODE_OF.items() if value is code)
        yield f"| {int(code)} | {meaning[code.name]} | {kinds} |"
    yield "\nOf an error's class and its bases the nearest one listed counts."


if __name__ == "__main__":
    sys.stdout.write(reference())
