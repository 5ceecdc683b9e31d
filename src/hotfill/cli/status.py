"""`hotfill status`."""

from __future__ import annotations

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting


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
