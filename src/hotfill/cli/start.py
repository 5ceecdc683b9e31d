"""`hotfill start`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json, Yes
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.plan import plan_lines
from hotfill.cli.running import running
from hotfill.errors import PhaseError

if TYPE_CHECKING:
    from hotfill.config import Project


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
    """Run the upgrade in this process, from wherever it is, until every item is re-embedded.

    Ctrl-C or SIGTERM: finish the batches in hand and stop; again: stop at once. Either way, and
    after any crash, the same command goes on. Asks before a fresh upgrade when on a terminal.
    """
    with output.reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade.phases import ENDED, Phase, Step
        from hotfill.upgrade.upgrade import Upgrade

        project = read(config)
        with Upgrade.of(project) as up:
            try:
                up.check(Step.START)
            except PhaseError as error:
                anew = [_anew(project, error.phase)] if error.phase in ENDED else error.allowed
                raise PhaseError(error.step, error.phase, anew) from error
            plan = None
            if up.phase is Phase.PLANNED and not yes and output.interactive():
                plan = up.plan()
                for line in plan_lines(plan):
                    report.note(line)
                plan.check()
                report.confirm("Start?")
            with running(up, report):
                status = up.start(plan, retry_dead_letters=retry_dead_letters, refit=refit)
        if status.phase not in (Phase.BACKFILLED, Phase.CUT_OVER):
            report.code = ExitCode.STOPPED
        report.status(status)


def _anew(project: Project, phase: str) -> str:
    """Say how to upgrade again after an upgrade that has ended."""
    if phase == "completed":
        return (
            "a new upgrade by a file of its own, in which [old] is the model that this one led to"
        )
    if project.settings.journal.kind_for(project.settings.store.journal_dsn) == "postgres":
        return "a new upgrade with another `name` under [journal] and another `folder`"
    return f"a new upgrade, once this one's folder is moved away: {project.folder}"
