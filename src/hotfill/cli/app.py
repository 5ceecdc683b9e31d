"""All commands, in the order in which an upgrade meets them."""

from __future__ import annotations

import typer

from hotfill.cli.abort import abort
from hotfill.cli.architecture_search import architecture_search
from hotfill.cli.binarize import binarize
from hotfill.cli.compare import compare
from hotfill.cli.complete import complete
from hotfill.cli.current import current
from hotfill.cli.cutover import cutover
from hotfill.cli.doctor import doctor
from hotfill.cli.pause import pause
from hotfill.cli.plan import plan
from hotfill.cli.postpone import postpone
from hotfill.cli.rehearse import rehearse
from hotfill.cli.resume import resume
from hotfill.cli.rollback import rollback
from hotfill.cli.sample import sample
from hotfill.cli.search import search
from hotfill.cli.serve import serve
from hotfill.cli.stamp import stamp
from hotfill.cli.start import start
from hotfill.cli.status import status
from hotfill.cli.train import train
from hotfill.cli.unpostpone import unpostpone
from hotfill.cli.verify import verify
from hotfill.cli.watch import watch
from hotfill.cli.worker import worker

COMMANDS = (
    sample,
    rehearse,
    doctor,
    stamp,
    plan,
    start,
    worker,
    status,
    watch,
    pause,
    resume,
    verify,
    postpone,
    unpostpone,
    cutover,
    rollback,
    complete,
    abort,
    search,
    current,
    train,
    compare,
    serve,
)

GROUPS = {"binarize": binarize, "architecture-search": architecture_search}
"""Commands that have commands of their own."""

app = typer.Typer(
    help="Upgrade the embedding model behind a live gallery.",
    epilog="doctor looks, plan decides, start works; running the same command again goes on "
    "wherever the last run ended, however it ended.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help; the formatted one costs the import of rich
    pretty_exceptions_enable=False,  # an unexpected error shows Python's own traceback
)
for command in COMMANDS:
    app.command()(command)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)
