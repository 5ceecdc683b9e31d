"""The page about the command line, made from the commands themselves.

`python -m hotfill.cli.reference > docs/reference/cli.md`
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from hotfill.cli import exit_codes
from hotfill.cli.app import COMMANDS, GROUPS, app
from hotfill.cli.exit_codes import CODE_OF, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    return "\n".join([_HEAD, *_commands(), "## Exit codes\n", *_codes()]) + "\n"


def _commands() -> Iterator[str]:
    commands: dict[str, Any] = vars(get_command(app))["commands"]
    for function in COMMANDS:
        yield from _command(commands[function.__name__])
    for group in GROUPS:
        for command in commands[group].commands.values():
            yield from _command(command, group)


def _command(command: Any, group: str = "") -> Iterator[str]:
    yield f"## `hotfill {group + ' ' if group else ''}{command.name}`\n"
    yield f"{command.help}\n"
    yield "| argument or option | meaning | default |\n|---|---|---|"
    for each in command.params:
        is_argument = each.param_type_name == "argument"
        name = (each.metavar or each.name.upper()) if is_argument else ", ".join(each.opts)
        default = "" if each.default in (None, False, "") else f"`{each.default}`"
        yield f"| `{name.strip('[]')}` | {each.help} | {default} |"
    yield ""


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
