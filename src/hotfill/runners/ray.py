"""Workers as actors of a Ray cluster, one for each GPU or core that is asked for.

Ray finds a machine for each, and starts it again when it dies. It does nothing else: which batches
are done is in the journal, so that a restarted actor simply asks for the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hotfill.errors import ConfigError
from hotfill.extras import need
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

OpenWorker: TypeAlias = Callable[[], AbstractContextManager[Worker]]

RESTARTS = 20
"""Of one actor; more point to a fault that comes again every time."""

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RayRun:
    """What all workers did together. phase: of the upgrade when the last of them ended.

    embedded, written: items, without those of actors that died.
    """

    phase: Phase
    embedded: int
    written: int


def run_on_ray(
    open_worker: OpenWorker,
    workers: int,
    *,
    cpus: float = 1.0,
    gpus: float = 0.0,
    address: str | None = None,
    stop: threading.Event | None = None,
) -> RayRun:
    """Run this many workers on a Ray cluster until the backfill has ended.

    open_worker: called in each actor, on its own machine; it is pickled, so it has to be a function
        that can be imported there, or a `functools.partial` of one.
    workers: actors. cpus, gpus: that each reserves; gpus may be a fraction.
    address: of the cluster, as `ray.init` takes it; None: the one that RAY_ADDRESS names, the one
        this process is connected to, or a fresh one on this machine.
    stop: set it to end after the batches in hand.
    Raises ConfigError (workers < 1, resources that no machine has), MissingExtraError, and what
    `Worker.run` raises: then the other actors go on until they have ended.
    """
    if workers < 1:
        raise ConfigError(f"workers must be >= 1, got {workers}")
    ray = need("ray", "ray")
    stop = stop or threading.Event()
    with _connected(ray, address):
        _check_resources(ray, cpus, gpus)
        actor = ray.remote(_Actor).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,  # of a call whose actor died, not of one that raised
            max_concurrency=2,  # `stop` is heard while `run` runs
        )
        actors = [actor.remote(open_worker) for _ in range(workers)]
        return _together(ray, actors, stop)


class _Actor:
    """One worker in a process of its own."""

    def __init__(self, open_worker: OpenWorker) -> None:
        self._open_worker = open_worker
        self._stop = threading.Event()

    def run(self) -> tuple[str, int, int]:
        with self._open_worker() as worker:
            worker.stop = self._stop
            phase = worker.run()
            return str(phase), worker.progress.embedded, worker.progress.written

    def stop(self) -> None:
        self._stop.set()


def _together(ray: ModuleType, actors: list[Any], stop: threading.Event) -> RayRun:
    """Wait for all; the first error counts, but only when the others have ended."""
    actor_of = {actor.run.remote(): actor for actor in actors}
    phase, embedded, written = Phase.PLANNED, 0, 0
    failure: Exception | None = None
    told = False
    while actor_of:
        if stop.is_set() and not told:
            told = True
            for actor in actor_of.values():
                actor.stop.remote()
        ended, _ = ray.wait(list(actor_of), timeout=_POLL_SECONDS)
        for call in ended:
            actor = actor_of.pop(call)
            try:
                name, more_embedded, more_written = ray.get(call)
            except ray.exceptions.RayTaskError as error:  # what the worker itself raised
                failure = failure or _cause(error)
            except ray.exceptions.RayError as error:  # it died once too often
                failure = failure or error
            else:
                phase = Phase(name)
                embedded, written = embedded + more_embedded, written + more_written
            ray.kill(actor)  # what it had reserved is free for one that waits
    if failure is not None:
        raise failure
    return RayRun(phase, embedded, written)


def _cause(error: Any) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, Exception) else error


def _check_resources(ray: ModuleType, cpus: float, gpus: float) -> None:
    """An actor that fits on no machine would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        raise ConfigError(
            f"no machine of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker; "
            f"its machines: {[{k: n.get(k, 0) for k in ('CPU', 'GPU')} for n in nodes]}"
        )


@contextmanager
def _connected(ray: ModuleType, address: str | None) -> Iterator[None]:
    """Use the cluster that this process is connected to already, or connect for the block."""
    if ray.is_initialized():
        yield
        return
    ray.init(address=address, include_dashboard=False, logging_level="warning")
    try:
        yield
    finally:
        ray.shutdown()
