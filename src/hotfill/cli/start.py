"""`hotfill start`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json, Yes, user
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.plan import plan_lines
from hotfill.cli.running import running


def start(
    config: Config = DEFAULT_CONFIG,
    retry_dead_letters: Annotated[
        bool,
        typer.Option("--retry-dead-letters", help="Try items again that failed for good."),
    ] = False,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit again from moved items; the better fit counts."),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run the upgrade in this process, from wherever it is, until every item is redone.

    Ctrl-C or SIGTERM: finish the batches in hand and stop; again: stop at once. Either way, and
    after any crash, the same command goes on. Asks before a fresh upgrade when on a terminal.
    """
    with output.reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade.phases import Phase, Step

        with read(config).opened(Step.START) as upgrade:
            fresh = upgrade.journal.phase is Phase.PLANNED
            if fresh and not yes and output.interactive():
                for line in plan_lines(upgrade.plan):
                    report.note(line)
                upgrade.plan.check()
                report.confirm("Start?")
            if refit:
                upgrade.plan = replace(upgrade.plan, refit=True)
            upgrade.by = user()
            with running(upgrade, report):
                status = upgrade.start(retry_dead_letters=retry_dead_letters)
        if status.phase not in (Phase.BACKFILLED, Phase.CUT_OVER):
            report.code = ExitCode.STOPPED
        report.status(status)
