"""While an upgrade works in this process: show how far it is, and let it be stopped."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hotfill.cli.arguments import user
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.stopping import stopping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotfill.cli.output import Report
    from hotfill.upgrade.upgrade import Upgrade


@contextmanager
def running(upgrade: Upgrade, report: Report) -> Iterator[None]:
    """Show progress on stderr during the block; after a stop say how to go on."""
    from hotfill.cli.progress import Bar, Ticker  # rich is slow to import

    show = Bar() if sys.stderr.isatty() else Ticker(sys.stderr)
    with show, stopping(upgrade.stop), upgrade.session(by=user(), on_status=show):
        yield
    if upgrade.stopped:
        report.code = ExitCode.STOPPED
        report.note("stopped cleanly; run the same command to go on")
