"""`hotfill serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.output import Report, reporting
from hotfill.cli.stopping import stopping


def serve(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[
        str | None, typer.Option(help="Where to listen; by default as [service] says.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; 0 takes a free one. By default as [service] says.")
    ] = None,
    make_token: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--make-token",
            metavar="NAME ROLE",
            help="Make a token of role read, write or operate, say what to put into the file, and "
            "end.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve searches and writes over HTTP, with a dashboard that runs the upgrade.

    Listens on this machine only, unless [service] has a host and tokens. Ctrl-C or SIGTERM:
    answer what is asked, finish the batches in hand, and stop.
    """
    with reporting(config, as_json) as report:
        if make_token is not None:
            _make(*make_token, report)
            return
        from hotfill.config import read
        from hotfill.extras import need

        for module in ("fastapi", "uvicorn", "jinja2", "prometheus_client"):
            need(module, "service")
        from hotfill.service.server import serve as run
        from hotfill.service.settings import read_settings

        project = read(config)
        changes = {"host": host, "port": port}
        settings = read_settings(
            project, **{name: value for name, value in changes.items() if value is not None}
        )
        with stopping(lambda: None):
            run(project, settings, lambda address: report.note(f"listening on {address}"))
        report.note("stopped cleanly")


def _make(name: str, role: str, report: Report) -> None:
    """Make a token; it is shown this once and kept nowhere."""
    import json

    from hotfill.errors import InputError
    from hotfill.service.tokens import ROLES, hash_of
    from hotfill.service.tokens import make_token as made

    if role not in ROLES:
        raise InputError(f"a role is one of {', '.join(ROLES)}, got {role!r}")
    token = made()
    report.note("The token, shown this once and kept nowhere:")
    entry = {"name": name, "role": role, "sha256": hash_of(token)}
    report.add(
        {"token": token, **entry},
        [
            token,
            "",
            "Put this into the configuration file, and start the service again:",
            "",
            "[[service.tokens]]",
            # The texts of TOML are written like those of JSON.
            *(f"{key} = {json.dumps(value)}" for key, value in entry.items()),
        ],
    )
