"""`hotfill worker`."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from hotfill.cli import output
from hotfill.cli.arguments import DEFAULT_CONFIG, Config, Json
from hotfill.cli.exit_codes import ExitCode
from hotfill.cli.stopping import stopping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hotfill.upgrade.phases import Phase
    from hotfill.upgrade.worker import Worker


def worker(
    config: Config = DEFAULT_CONFIG,
    lease_seconds: Annotated[
        float,
        typer.Option(
            "--lease-seconds", help="After so long without a sign of life others take its batches."
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
    """Help to embed, while `hotfill start` runs elsewhere: on this machine or another.

    Needs a store that takes many processes. Waits for the backfill to begin and ends with it. May
    be killed at any moment, like everything else.
    """
    with output.reporting(config, as_json) as report:
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
        with opened(config, lease_seconds) as helper:
            with stopping(helper.stop.set):
                phase = helper.run()
            did = helper.progress
            _report(report, phase, did.embedded, did.written, stopped=helper.stop.is_set())


@contextmanager
def opened(config: Path, lease_seconds: float) -> Iterator[Worker]:
    """Open everything that one worker needs, in whichever process it runs."""
    from hotfill.config import open_upgrade

    with open_upgrade(config) as up:
        yield up.worker(lease_seconds=lease_seconds)


def _report(
    report: output.Report, phase: Phase, embedded: int, written: int, *, stopped: bool
) -> None:
    if stopped:
        report.code = ExitCode.STOPPED
    report.add(
        {"phase": str(phase), "embedded": embedded, "written": written},
        [f"embedded {embedded:,} items and wrote {written:,}; the upgrade is {phase}"],
    )
