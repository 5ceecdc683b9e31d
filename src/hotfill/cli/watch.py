"""`hotfill watch`."""

from __future__ import annotations

import sys
import time

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import reporting

_REFRESH_SECONDS = 1.0


def watch(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show the status, refreshed each second, until no process is at work or Ctrl-C.

    Reads the journal only; the upgrade does not notice. With --json: the last status.
    """
    with reporting(config, as_json) as report:
        from hotfill.cli.progress import Bar, Ticker
        from hotfill.config import open_upgrade

        up = open_upgrade(config)
        status = up.status()
        with Bar() if sys.stderr.isatty() else Ticker(sys.stderr) as show:
            try:
                while status.running:
                    show(status)
                    time.sleep(_REFRESH_SECONDS)
                    status = up.status()
            except KeyboardInterrupt:
                report.note("no longer watching; the upgrade goes on")
        report.status(status)
