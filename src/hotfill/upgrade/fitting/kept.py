"""Where an upgrade keeps what was fitted: a folder for each fit; the journal says which one counts.

A folder is written whole before the journal names it, so that a kill in between leaves the fit
before in force.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from hotfill.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

    from hotfill.upgrade.fitting.base import Fit
    from hotfill.upgrade.journal.base import Journal


def keep_fit(folder: Path, journal: Journal, fit: Fit, *, pairs: int) -> None:
    """Save a fit and put it in force. pairs: what it was fitted on."""
    last = journal.last("fit")
    name = f"fit-{1 if last is None else int(last.body['number']) + 1}"
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)  # what a kill left half written
    place.mkdir()
    fit.save(place)
    journal.record("fit", number=int(name.removeprefix("fit-")), folder=name, pairs=pairs)


def fit_folder(folder: Path, journal: Journal) -> Path:
    """Tell the folder of the fit in force. Raises JournalError before there is one."""
    last = journal.last("fit")
    if last is None:
        raise JournalError("nothing was fitted yet; `hotfill start` does it first of all")
    return folder / str(last.body["folder"])
