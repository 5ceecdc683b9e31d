"""`hotfill worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.stopping import stopping


def worker(
    config: Config = DEFAULT_CONFIG,
    lease_seconds: Annotated[
        float,
        typer.Option(
            "--lease-seconds", help="After so long without a sign of life others take its batches."
        ),
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Help to embed, while `hotfill start` runs elsewhere: on this machine or another.

    Needs a store that takes many processes. Waits for the backfill to begin and ends with it. May
    be killed at any moment, like everything else.
    """
    with output.reporting(config, as_json) as report:
        from hotfill.config import read

        with read(config).worker(lease_seconds=lease_seconds) as helper:
            with stopping(helper.stop):
                phase = helper.run()
            if helper.stop.is_set():
                report.code = ExitCode.STOPPED
            embedded, written = helper.progress.embedded, helper.progress.written
            report.add(
                {"phase": str(phase), "embedded": embedded, "written": written},
                [f"embedded {embedded:,} items and wrote {written:,}; the upgrade is {phase}"],
            )
