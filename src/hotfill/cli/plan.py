"""`hotfill plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import reporting
from hotfill.cli.status_lines import duration

if TYPE_CHECKING:
    from hotfill.upgrade.plan import Plan


def plan(
    config: Config = DEFAULT_CONFIG,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the plan to this TOML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at everything and say what an upgrade would do; touch nothing.

    Reads the store and the source, and embeds a few items to measure the time. Ends with code 3
    when something blocks the upgrade.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            made = up.plan()
            status = up.status()
        if out is not None:
            made.write(out)
        report.add(made.to_dict(), plan_lines(made))
        if made.blockers:
            report.code = ExitCode.BLOCKED
            report.next(["plan"])
        else:
            report.next(status.next_steps)


def plan_lines(made: Plan) -> list[str]:
    """Say a plan to people."""
    order = made.order + (f" by {made.priority_key}" if made.order == "priority" else "")
    lines = [
        f"from      {made.old_model}",
        f"to        {made.new_model}",
        f"strategy  {made.strategy}, order {order}, batches of {made.batch_size:,}, "
        f"cutover {made.cutover}",
        f"items     {made.items:,}, {made.old_model.dimension} to {made.new_model.dimension} "
        f"dimensions, {_bytes(made.bytes_to_write)} to write",
    ]
    if made.sampled_items:
        lines.append(
            f"time      about {duration(made.seconds_expected)}, "
            f"from embedding {made.sampled_items} items now"
        )
    return [*lines, *(f"blocker   {each}" for each in made.blockers)]


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
