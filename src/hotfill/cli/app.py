"""All commands, in groups, in the order in which an upgrade meets them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hotfill._version import __version__
from hotfill.cli import operate, output, prepare, processes
from hotfill.cli.architecture_search import architecture_search
from hotfill.cli.binarize import binarize
from hotfill.cli.compare import compare
from hotfill.cli.dead_letters import dead_letters
from hotfill.cli.doctor import doctor
from hotfill.cli.init import init
from hotfill.cli.rehearse import rehearse, sample
from hotfill.cli.search import search
from hotfill.cli.train import train
from hotfill.errors import HotfillError

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: dict[str, dict[Callable[..., None], str]] = {
    "Prepare": {
        init: "hotfill init postgresql:///shop --new BAAI/bge-small-en-v1.5",
        doctor: "hotfill doctor upgrade.toml",
        prepare.adopt: "hotfill adopt upgrade.toml --vector-column embedding",
        sample: "hotfill sample upgrade.toml --items 5000 --out sample",
        rehearse: "hotfill rehearse upgrade.toml --report report",
        prepare.plan: "hotfill plan upgrade.toml",
        prepare.embed: "hotfill embed upgrade.toml --data part-0017.parquet --out vectors",
    },
    "Run": {
        operate.start: "hotfill start upgrade.toml --yes",
        processes.worker: "hotfill worker upgrade.toml",
        operate.pause: "hotfill pause upgrade.toml --by anna",
        operate.resume: "hotfill resume upgrade.toml",
        operate.optimise: "hotfill optimise upgrade.toml",
        operate.guard: "hotfill guard off upgrade.toml",
        dead_letters: "hotfill dead-letters upgrade.toml --retry",
        processes.serve: "hotfill serve upgrade.toml --port 8765",
    },
    "Decide": {
        operate.verify: "hotfill verify upgrade.toml",
        operate.postpone: "hotfill postpone upgrade.toml --by anna",
        operate.unpostpone: "hotfill unpostpone upgrade.toml",
        operate.cutover: "hotfill cutover upgrade.toml",
        operate.rollback: "hotfill rollback upgrade.toml",
        operate.complete: "hotfill complete upgrade.toml",
        operate.abort: "hotfill abort upgrade.toml",
    },
    "Look": {
        operate.status: "hotfill status upgrade.toml --json",
        operate.watch: "hotfill watch upgrade.toml",
        operate.current: "hotfill current upgrade.toml",
        search: 'hotfill search upgrade.toml --content "red lamp" -k 5',
    },
    "Lab": {
        train: "hotfill train bct --data pictures --old old.safetensors --out trained",
        compare: "hotfill compare bct ridge --old old.npy --new new.npy --labels labels.npy",
    },
}
"""Commands by group, each with an example."""

GROUPS = {"binarize": binarize, "architecture-search": architecture_search}
"""Commands that have commands of their own; in the group Lab."""


class GroupedHelp(TyperGroup):
    """Lists the commands in their groups, each with its whole first line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lists."""
        for title, commands in COMMANDS.items():
            names = [command.__name__.replace("_", "-") for command in commands]
            names += GROUPS if title == "Lab" else ()
            with formatter.section(title):
                formatter.write_dl(
                    [(name, self.commands[name].get_short_help_str(limit=200)) for name in names]
                )


app = typer.Typer(
    cls=GroupedHelp,
    help="Upgrade the embedding model behind a live gallery.",
    epilog="init, rehearse, start, cutover: an upgrade in four commands; the same command again "
    "goes on wherever the last run ended, however it ended. HOTFILL_CONFIG names the "
    "configuration file where a command is given none.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help; the formatted one costs the import of rich
    pretty_exceptions_enable=False,  # an unexpected error shows Python's own traceback
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hotfill {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Log more to stderr; -vv still more.")
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Results and errors only, no progress.")
    ] = False,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", help="Also append logs to this file.")
    ] = None,
) -> None:
    """Upgrade the embedding model behind a live gallery."""
    # Libraries' own bars would run through ours. Read when such a library is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        output.be_verbose(-1 if quiet else verbose, log_file)
    except HotfillError as error:
        raise typer.BadParameter(str(error)) from error


for commands in COMMANDS.values():
    for command, example in commands.items():
        first_line = (command.__doc__ or "").partition("\n")[0]
        app.command(short_help=first_line, epilog=f"\b\nExample:\n  {example}")(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)
