"""`make demo-page`: the dashboard over the gallery as the kill left it, half of it upgraded.

Under *Try a search* one picks a drawing and sees what the old model finds, what a search gets and
what the new model finds. *Continue* takes the upgrade to its end.
"""

from __future__ import annotations

from pathlib import Path

from demo.constants import HALFWAY
from hotfill import config
from hotfill.service.server import serve
from hotfill.service.settings import read_settings


def main(folder: Path = HALFWAY, port: int | None = None) -> None:
    """Serve until Ctrl-C. port: another than the 8765 of the service."""
    file = folder / "upgrade.toml"
    if not file.exists():
        raise SystemExit(f"there is no {file}: run `make demo` first")
    project = config.read(file)
    changes = {} if port is None else {"port": port}
    serve(
        project,
        read_settings(project, **changes),
        lambda address: print(f"open {address}/#try and pick a drawing; Ctrl-C ends", flush=True),
    )


if __name__ == "__main__":
    main()
