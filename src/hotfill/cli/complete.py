"""`hotfill complete`."""

from __future__ import annotations

from typing import Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json, Yes
from hotfill.cli.output import reporting


def complete(
    config: Config = DEFAULT_CONFIG,
    delete_accepted: Annotated[
        bool,
        typer.Option(
            "--delete-accepted",
            help="Let accepted dead letters, which only old vectors find, leave the gallery.",
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove the old vectors. There is no way back afterwards.

    Asks first; where nobody can answer it needs --yes.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade
        from hotfill.upgrade.phases import Step

        with open_upgrade(config) as up:
            up.check(Step.COMPLETE)
            if not yes:
                report.confirm("Remove the old vectors? There is no way back afterwards.")
            report.status(up.complete(delete_accepted=delete_accepted))
