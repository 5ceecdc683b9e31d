"""`hotfill dead-letters`: what to do about items that failed for good."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, Yes, user
from hotfill.cli.output import reporting
from hotfill.cli.progress import counted
from hotfill.errors import ConfigError

if TYPE_CHECKING:
    from hotfill.upgrade.journal.base import DeadLetter

_SHOWN = 50  # lines for people; --json has all


def dead_letters(
    config: Config = DEFAULT_CONFIG,
    item: Annotated[
        list[str] | None,
        typer.Option("--item", help="Only this item; may be given several times."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try them again.")] = False,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Let the upgrade go on without them: old vectors find them until `complete`.",
        ),
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them from the gallery. Asks first.")
    ] = False,
    by: By = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """List items that failed for good; retry, accept or delete them.

    Without --item all that nobody accepted are meant. Retried items are embedded by the process at
    work, or by the next `hotfill start`. --delete needs the store: end the process at work first
    where the store takes one process at a time.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import read
        from hotfill.upgrade import control
        from hotfill.upgrade.upgrade import Upgrade

        if sum((retry, accept, delete)) > 1:
            raise ConfigError("expected one of --retry, --accept and --delete, got several")
        project = read(config)
        if delete:
            if not yes:
                report.confirm("Delete these items from the gallery? There is no way back.")
            with counted("deleting"), Upgrade.of(project) as up:
                done = up.delete_dead_letters(item)
            report.add({"deleted": done}, [f"deleted {done:,} items"])
        elif retry or accept:
            with closing(project.journal()) as journal:
                if accept:
                    done = control.accept_dead_letters(journal, by or user(), item)
                    report.add({"accepted": done}, [f"accepted {done:,} items"])
                else:
                    size = project.plan_to_look_at(journal).work_cut
                    done = control.retry_dead_letters(journal, size, item)
                    report.add({"retried": done}, [f"{done:,} items will be tried again"])
        with closing(project.look()) as journal:
            waiting = journal.dead_letters()
            accepted = journal.dead_letters(accepted=True)
        report.add(
            {
                "dead_letters": [_plain(each) for each in waiting],
                "accepted_letters": [_plain(each) for each in accepted],
            },
            _lines(waiting, accepted),
        )


def _plain(letter: DeadLetter) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(letter)


def _lines(waiting: tuple[DeadLetter, ...], accepted: tuple[DeadLetter, ...]) -> list[str]:
    if not waiting and not accepted:
        return ["no item failed for good"]
    lines = [f"{len(waiting):,} items failed for good"]
    lines += [
        f"  {each.item_id}  {each.stage}, {each.attempts} tries: {each.error}"
        for each in waiting[:_SHOWN]
    ]
    if len(waiting) > _SHOWN:
        lines.append(f"  and {len(waiting) - _SHOWN:,} more (--json lists all)")
    if accepted:
        lines.append(f"{len(accepted):,} were accepted; old vectors find them until `complete`")
        lines += [f"  {each.item_id}  by {each.accepted_by}" for each in accepted[:_SHOWN]]
    if waiting:
        lines.append("next: dead-letters --retry | --accept | --delete")
    return lines
