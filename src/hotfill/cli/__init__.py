"""The command line: one file per command, each of which parses, calls the library and prints.

Nothing heavy is imported here or at the top of a command's file, so that `hotfill --help` is quick.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point `hotfill`."""
    from hotfill.cli.app import app  # only a run needs it

    app(prog_name="hotfill")
