"""`hotfill resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, By, Config, Json, user
from hotfill.cli.output import reporting


def resume(
    config: Config = DEFAULT_CONFIG,
    accept_gate: Annotated[
        bool,
        typer.Option(
            "--accept-gate", help="Go on although a gate is not met; it is written down who did."
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
            status = up.status()
        report.add({"was_paused": was_paused, "accepted": [hold.about for hold in accepted]})
        report.add({}, [f"accepted: {hold}" for hold in accepted])
        if not was_paused and not accepted:
            report.add({}, ["no gate held it" if accept_gate else "it was not paused"])
        report.status(status)
