"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Config: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="The configuration file.", envvar="HOTFILL_CONFIG"),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print exactly one JSON object, for programs.")
]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
By: TypeAlias = Annotated[
    str, typer.Option("--by", help="Who asks; shown to everybody. Default: the user's name.")
]

DEFAULT_CONFIG = Path("upgrade.toml")


def user() -> str:
    """Tell the name of whoever runs this."""
    import getpass  # rarely needed

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"  # a container may run under a number that has no name
