"""The commands that run an upgrade, decide about it and look at it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, Yes, user
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted, progress_shown, running
from hotfill.cli.status_lines import coverage_lines, verification_lines
from hotfill.errors import InputError, PhaseError
from hotfill.formatting import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.upgrade.upgrade import Upgrade

_REFRESH_SECONDS = 1.0


# Run ---------------------------------------------------------------------------------------------


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
    yes_below_old: Annotated[
        bool,
        typer.Option(
            "--yes-below-old", help="Begin although searches may begin below the old model."
        ),
    ] = False,
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Begin a new upgrade if the last one has ended; its record is kept."
        ),
    ] = False,
    more: Annotated[
        bool,
        typer.Option(
            "--more",
            help="After complete, embed items that stayed imputed, by backfill and budget.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run the upgrade, from wherever it is.

    Runs in this process until every item is embedded by the new model. Ctrl-C or SIGTERM: finish
    the batches in hand, give up an index that is built, and stop; a second time: stop at once.
    Either way, and after any crash, the same command goes on. Asks before a fresh upgrade when on
    a terminal. With --new the journal and the folder of an upgrade that has ended are renamed, and
    the next one begins.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.upgrade.phases import ENDED, Phase

        with open_upgrade(config) as up:
            anew = new and up.phase in ENDED
            if new and more:
                raise InputError("--new begins an upgrade, --more goes on with one that has ended")
            if not anew and not more:
                _check_start(up)
            plan = None
            if anew or (up.phase is Phase.PLANNED and not yes and output.interactive()):
                with counted("planning"):
                    plan = up.plan()
                plan.check()
                if not yes and output.interactive():
                    report.note(str(plan))
                    report.confirm("Start?")
            if anew:
                report.note(f"the record of the upgrade that ended is kept: {up.archive()}")
            with running(up, report):
                status = up.start(
                    plan,
                    retry_dead_letters=retry_dead_letters,
                    refit=refit,
                    allow_below_old=yes_below_old,
                    more=more,
                )
            stopped = up.stopped
        ended = {Phase.COMPLETED} if more and not stopped else {Phase.BACKFILLED, Phase.CUT_OVER}
        if status.phase not in ended:
            report.code = ExitCode.STOPPED
        report.status(status)


def _check_start(up: Upgrade) -> None:
    """Raise PhaseError where it cannot start; after an upgrade that has ended say how to go on."""
    from hotfill.upgrade.phases import ENDED, Step

    try:
        up.check(Step.START)
    except PhaseError as error:
        if error.phase not in ENDED:
            raise
        first = "[old] set to this upgrade's new model, then " if error.phase == "completed" else ""
        raise PhaseError(error.step, error.phase, [f"{first}start --new"]) from error


def pause(config: Config = DEFAULT_CONFIG, by: By = "", as_json: Json = False) -> None:
    """Pause the upgrade until `resume`.

    The process at work finishes the batches in hand and waits. Searches and writes go on. May be
    called from anywhere, also before the upgrade is started.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            up.pause(by or user())
            report.status(up.status())


def resume(
    config: Config = DEFAULT_CONFIG,
    accept_gate: Annotated[
        bool,
        typer.Option(
            "--accept-gate", help="Go on although a gate is not met; who did is recorded."
        ),
    ] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """End all pauses; with --accept-gate also the holds of the gate.

    A gate that was accepted holds no more, until [gate] is changed. A process that waits goes on by
    itself. (An upgrade that was killed or stopped goes on by `start`.)
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            was_paused = up.resume()
            accepted = up.accept_gate(by or user()) if accept_gate else ()
            now = up.status()
        report.add({"was_paused": was_paused, "accepted_gate": [hold.about for hold in accepted]})
        report.add({}, [f"accepted: {hold}" for hold in accepted])
        if not was_paused and not accepted:
            report.add({}, ["no gate held it" if accept_gate else "it was not paused"])
        report.status(now)


def guard(
    switch: Annotated[str, typer.Argument(metavar="on|off", help="Whether it measures.")],
    config: Config = DEFAULT_CONFIG,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Switch the measuring of the canaries on or off, while the upgrade runs.

    It takes at most a tenth of the time. Holds of a gate stay; `resume --accept-gate` ends them.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        if switch not in ("on", "off"):
            raise InputError(f"expected on or off, got {switch!r}")
        with open_upgrade(config) as up:
            up.switch_guard(on=switch == "on", by=by or user())
            report.add({"guard": switch}, [f"the guard is {switch}"])
            report.status(up.status())


# Decide ------------------------------------------------------------------------------------------


def verify(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Check every id and stamp, and embed a sample again.

    A pass allows the cutover for a while. Ends with code 9 when something is wrong.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            with counted("verifying", part=lambda: up.part):
                found = up.verify()
            report.add(found.to_dict(), verification_lines(found))
            report.next(up.status().next_steps)
        if not found.passed:
            report.code = ExitCode.NOT_VERIFIED


def postpone(config: Config = DEFAULT_CONFIG, by: By = "", as_json: Json = False) -> None:
    """Hold the cutover, not the backfill, until `unpostpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            up.postpone(by or user())
            report.status(up.status())


def unpostpone(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Allow the cutover again after `postpone`."""
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            was_postponed = up.unpostpone()
            told = [] if was_postponed else ["it was not postponed"]
            report.add({"was_postponed": was_postponed}, told)
            report.status(up.status())


def cutover(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Read the new side only from now on; verifies before, unless that was done just now.

    The old vectors are kept for `rollback`. Happens completely or not at all. Ends with code 9 when
    the verification finds something wrong.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            if up.needs_verification:
                with counted("verifying", part=lambda: up.part):
                    found = up.verify()
                report.add({"verified": found.to_dict()}, verification_lines(found))
                if not found.passed:
                    report.code = ExitCode.NOT_VERIFIED
                    report.next(up.status().next_steps)
                    return
            report.status(up.cutover())


def rollback(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Go back to the old model after the cutover.

    Items written since keep their content.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up, running(up, report):
            report.status(up.rollback())


def abort(config: Config = DEFAULT_CONFIG, yes: Yes = False, as_json: Json = False) -> None:
    """Go back to the old model before the cutover.

    Items written since the start keep their content. A process at work is asked to let go first.
    Asks for confirmation; where nobody can answer it needs --yes.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.upgrade.phases import Step

        with open_upgrade(config) as up:
            up.check(Step.ABORT)
            if not yes:
                report.confirm("Move all items back to the old model and drop the new vectors?")
            with running(up, report):
                report.status(up.abort())


def complete(
    config: Config = DEFAULT_CONFIG,
    delete_accepted: Annotated[
        bool,
        typer.Option(
            "--delete-accepted", help="Let dead letters that were accepted leave the gallery."
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove the old vectors; there is no way back.

    Refused while accepted dead letters have no vector of the new model, unless these may go.
    Asks for confirmation; where nobody can answer it needs --yes.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.upgrade.phases import Step

        with open_upgrade(config) as up:
            up.check(Step.COMPLETE)
            if not yes:
                report.confirm(
                    "Remove the old vectors? Programs of your own that search the store by "
                    "themselves need the new model from then on. There is no way back afterwards."
                )
            with counted("completing", part=lambda: up.part):
                done = up.complete(delete_accepted=delete_accepted)
            report.status(done)


def optimise(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Let the store build its indexes and tidy up.

    `start` and the ways back do it by themselves. Searches and writes go on. Says what share of
    each side is indexed before and after.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            before = {str(space): up.gallery.indexed(space) for space in up.gallery.spaces}
            with counted("optimising", part=lambda: up.part):
                up.optimise()
            after = {str(space): up.gallery.indexed(space) for space in up.gallery.spaces}
            report.add({"indexed_before": before, "indexed": after}, _indexed(before, after))
            report.next(up.status().next_steps)


def _indexed(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[str]:
    return [
        f"{model}: "
        + ("needs no index" if share is None else f"{percent(share)} indexed")
        + (f", {percent(was)} before" if (was := before[model]) not in (None, share) else "")
        for model, share in after.items()
    ]


# Look --------------------------------------------------------------------------------------------


def status(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Say where the upgrade is, whoever runs it.

    Reads the journal only, so it works while another process has the store open. Writes nothing.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        up = open_upgrade(config)
        report.status(up.status())
        letters = up.dead_letters()
        report.add(
            {"dead_letter_items": [{"item_id": e.item_id, "error": e.error} for e in letters]},
            [f"dead letter {each.item_id}: {each.error}" for each in letters],
        )


def watch(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show the status, refreshed each second.

    Ends when no process is at work, or at Ctrl-C. Reads the journal only; the upgrade does not
    notice. With --json: the last status.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        up = open_upgrade(config)
        now = up.status()
        with progress_shown(sys.stderr) as show:
            try:
                while now.running:
                    show(now)
                    time.sleep(_REFRESH_SECONDS)
                    now = up.status()
            except KeyboardInterrupt:
                report.note("no longer watching; the upgrade goes on")
        report.status(now)


def current(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Say which models the gallery holds, and how much of it.

    Counts in the store; while another process has it open, reads the journal.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with counted("counting"), open_upgrade(config) as up:
            now = up.current()
            report.add(now.to_dict(), coverage_lines(now))
            report.next(up.status().next_steps)
