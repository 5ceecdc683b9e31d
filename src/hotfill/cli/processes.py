"""The commands that run until they are stopped: the service, and one more worker."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.output import Report, reporting
from hotfill.cli.progress import counted, stopping
from hotfill.errors import InputError
from hotfill.tracing import exporting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hotfill.upgrade.phases import Phase
    from hotfill.upgrade.worker import Worker


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
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Prepare for a new upgrade if the last one has ended; its record is kept."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve searches, writes and a dashboard over HTTP.

    The dashboard runs the upgrade. Listens on this machine only, unless [service] has a host and
    tokens. Ctrl-C or SIGTERM: answer what is asked, finish the batches in hand, and stop.
    """
    with reporting(config, as_json) as report:
        if make_token is not None:
            _make(*make_token, report)
            return
        from hotfill.config import open_upgrade, read
        from hotfill.extras import need
        from hotfill.upgrade.phases import ENDED

        for module in ("fastapi", "uvicorn", "jinja2", "prometheus_client"):
            need(module, "service")
        from hotfill.service.server import serve as run
        from hotfill.service.settings import read_settings

        project = read(config)
        changes = {"host": host, "port": port}
        settings = read_settings(
            project, **{name: value for name, value in changes.items() if value is not None}
        )
        with open_upgrade(config) as up:
            if new and up.phase in ENDED:
                report.note(f"the record of the upgrade that ended is kept: {up.archive()}")
        with stopping(lambda: None), ExitStack() as opening:
            opening.enter_context(counted("opening the gallery and loading the models"))

            def listening(address: str) -> None:
                opening.close()
                report.note(f"listening on {address}")

            run(project, settings, listening)
        report.note("stopped cleanly")


def _make(name: str, role: str, report: Report) -> None:
    """Make a token; it is shown this once and kept nowhere."""
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


def worker(
    config: Config = DEFAULT_CONFIG,
    lease_seconds: Annotated[
        float,
        typer.Option(
            "--lease-seconds",
            help="Others take its batches after this long without a sign of life.",
        ),
    ] = 60.0,
    ray: Annotated[
        int, typer.Option("--ray", min=0, help="Run this many workers on a Ray cluster instead.")
    ] = 0,
    ray_gpus: Annotated[
        float, typer.Option("--ray-gpus", min=0, help="GPUs of each; may be a fraction.")
    ] = 0.0,
    ray_cpus: Annotated[float, typer.Option("--ray-cpus", min=0, help="CPUs of each.")] = 1.0,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Of the cluster; by default RAY_ADDRESS, or a new one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Help to embed while `hotfill start` runs elsewhere.

    On this machine or another. Needs a store that takes many processes. Waits for the backfill to
    begin and ends with it. May be killed at any moment, like everything else.
    """
    with reporting(config, as_json) as report:
        if ray:
            from hotfill.runners.ray import run_on_ray

            stop = threading.Event()
            with stopping(stop.set):
                done = run_on_ray(
                    partial(opened, config.resolve(), lease_seconds),
                    ray,
                    cpus=ray_cpus,
                    gpus=ray_gpus,
                    address=ray_address,
                    stop=stop,
                )
            _report(report, done.phase, done.embedded, done.written, stopped=stop.is_set())
            return
        with exporting(), ExitStack() as stack:
            with counted("opening the gallery and loading the models"):
                helper = stack.enter_context(opened(config, lease_seconds))
            did = helper.progress
            with stopping(helper.stop.set), counted("helping", count=lambda: did.embedded):
                phase = helper.run()
            _report(report, phase, did.embedded, did.written, stopped=helper.stop.is_set())


@contextmanager
def opened(config: Path, lease_seconds: float) -> Iterator[Worker]:
    """Open everything that one worker needs, in whichever process it runs."""
    from hotfill.config import open_upgrade

    with open_upgrade(config) as up:
        yield up.worker(lease_seconds=lease_seconds)


def _report(report: Report, phase: Phase, embedded: int, written: int, *, stopped: bool) -> None:
    if stopped:
        report.code = ExitCode.STOPPED
    report.add(
        {"phase": str(phase), "embedded": embedded, "written": written},
        [f"embedded {embedded:,} items and wrote {written:,}; the upgrade is {phase}"],
    )
