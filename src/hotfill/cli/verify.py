"""`hotfill verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import reporting

if TYPE_CHECKING:
    from hotfill.upgrade.verify import Verification


def verify(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Check every id and stamp, and embed a sample again.

    A pass allows the cutover for a while. Ends with code 9 when something is wrong.
    """
    with reporting(config, as_json) as report:
        from hotfill.config import open_upgrade

        with open_upgrade(config) as up:
            found = up.verify()
            report.add(found.to_dict(), _lines(found))
            report.next(up.status().next_steps)
        if not found.passed:
            report.code = ExitCode.NOT_VERIFIED


def _lines(found: Verification) -> list[str]:
    lines = [
        f"{'passed' if found.passed else 'failed'}: {found.items:,} items on the new side; "
        f"{found.sampled} embedded again, lowest similarity {found.lowest_similarity:.5f}"
    ]
    wrong = [
        (found.missing, "gone, but not deleted through hotfill", found.missing_ids),
        (found.elsewhere, "not on the new side", ()),
        (found.foreign, "on the new side by vectors that the new model did not make", ()),
        (found.dead_letters, "dead letters; `hotfill status` names them", ()),
        (found.disagreeing, "stored otherwise than embedded now", found.disagreeing_ids),
    ]
    for count, what, item_ids in wrong:
        if count:
            names = f": {', '.join(item_ids)}" if item_ids else ""
            lines.append(f"  {count:,} {what}{names}{' ...' if count > len(item_ids) > 0 else ''}")
    return lines
