"""What may strike: each takes a world and the step that is to be led, and harms both."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable

from hotfill.stores.folder import MIN_FREE_BYTES
from hotfill.upgrade.phases import ENDED, Phase
from tests.acceptance.truth.on_postgres import PostgresWorld
from tests.acceptance.truth.power import recorder
from tests.acceptance.truth.shared import SharedWorld
from tests.acceptance.truth.world import PATIENCE_SECONDS, World

_STILL_SECONDS = 3.0  # longer than anybody waits for a notice; not as long as a lease


def _under_way(world: World, step: str, **settings):
    """A session that has done something, but perhaps not all."""
    session = world.session(step, **settings)
    session.wait_for(int(world.random.integers(2, 150)))
    return session


def killed(world: World, step: str) -> None:
    _under_way(world, step).kill()


def stopped(world: World, step: str) -> None:
    """As an operator does; then it ends within seconds."""
    session = _under_way(world, step)
    if session.process.is_alive():
        session.send(signal.SIGTERM)
    session.finish()


def power_cut(world: World, step: str) -> None:
    """Pages that no sync has brought to the disk are gone."""
    with world.alone():
        began = time.monotonic()
        _under_way(world, step, **world.recorded()).kill()
        last = world.disk.syncs
        if world.keeps_items:
            world.disk.cut_power(int(world.random.integers(last + 1)))
            world.oracle.doubt_since(began)
        else:  # a server has done what was asked of it after any earlier sync
            world.disk.cut_power(last)
        world.disk.forget()


def journal_deleted(world: World, step: str) -> None:
    _under_way(world, step).kill()
    world.delete_journal()
    world.take_over()


def journal_restored(world: World, step: str) -> None:
    """From a backup of any earlier moment; the store stays."""
    with world.alone():
        _under_way(world, step).kill()
        _, backup = world.backups[int(world.random.integers(len(world.backups)))]
        world.delete_journal()
        kept = backup / world.project.folder.name
        for path in kept.glob("journal.sqlite*") if kept.exists() else ():
            shutil.copy(path, world.project.folder / path.name)
        world.take_over()


def store_restored(world: World, step: str) -> None:
    """From a backup of any earlier moment; the journal stays."""
    _under_way(world, step).kill()
    at, backup = world.backups[int(world.random.integers(len(world.backups)))]
    with world.store_away():
        world.restore_store(backup)
        world.oracle.doubt_since(at)


def stands_still(world: World, step: str) -> None:
    """A process stands still for seconds, while others look and give the same command."""
    session = _under_way(world, step)
    if session.process.is_alive():
        session.send(signal.SIGSTOP)
        world.session(step).finish()
        time.sleep(_STILL_SECONDS)
        session.send(signal.SIGCONT)
    session.finish()


def disk_full(world: World, step: str) -> None:
    """No room is left while a step is led; others look before there is room again."""
    session = _under_way(world, step)
    with world.small.filled(int(world.random.integers(MIN_FREE_BYTES))):
        session.finish()
        world.look()


def embedder_hangs(world: World, step: str) -> None:
    """One call never returns; the process says so and ends."""
    session = world.session(step, hangs_at=int(world.random.integers(1, 12)))
    session.finish()


def clock_steps(world: World, step: str) -> None:
    """A process lives in another hour or month; then it is killed."""
    away = float(world.random.choice([-3600, 3600, -30 * 86400, 30 * 86400]))
    _under_way(world, step, clock_seconds=away).kill()


def two_commands(world: World, step: str) -> None:
    """Another process gives the same command; one of both is refused, or waits."""
    session = _under_way(world, step)
    second = world.session(step)
    second.process.join(PATIENCE_SECONDS)
    session.kill()
    second.finish()


def connections_ended(world: SharedWorld, step: str) -> None:
    """Every connection to the server ends, on PostgreSQL the one with the leader's lock too."""
    session = _under_way(world, step)
    world.end_connections()
    session.finish()


def server_killed(world: SharedWorld, step: str) -> None:
    """SIGKILL of the server itself; it is started again within seconds."""
    session = _under_way(world, step)
    world.server.kill()
    time.sleep(float(world.random.uniform(0, 1.5)))
    world.server.start()
    session.finish()


def leader_replaced(world: PostgresWorld, step: str) -> None:
    """A process stands still, loses its lock, and wakes up when another has led since."""
    session = _under_way(world, step)
    if session.process.is_alive():
        session.send(signal.SIGSTOP)
        world.end_connections()
        world.session(step).finish()
        session.send(signal.SIGCONT)
    session.finish()


def application_killed(world: SharedWorld, step: str) -> None:
    session = _under_way(world, step)
    world.kill_application()
    session.finish()


def rows_without_triggers(world: PostgresWorld, step: str) -> None:
    session = _under_way(world, step)
    if world.phase not in ENDED:
        world.load(past_triggers=True)
    session.finish()


def rows_by_another_client(world: PostgresWorld, step: str) -> None:
    """Plain SQL writes and deletes, which the triggers see, before and after the step has ended."""
    session = _under_way(world, step)
    for _ in range(2):
        if world.phase not in ENDED:
            world.load(past_triggers=False)
            world.delete_rows()
        session.finish()


def second_configuration(world: SharedWorld, step: str) -> None:
    """Somebody begins an upgrade of the same table to another model: refused with our name."""
    session = None
    if step == "start":
        session = _under_way(world, step)
        while world.phase is Phase.PLANNED and session.process.is_alive():
            time.sleep(0.05)
    if world.phase is not Phase.PLANNED:
        other = world.begin_elsewhere()
        other.finish()
        if other.ended is None or "upgraded by" not in other.ended:
            world.outcome.foreign += 1
            world.outcome.said.append(f"a second upgrade was not refused: {other.ended}")
    (session or _under_way(world, step)).kill()


KINDS = {
    "killed": killed,
    "stopped": stopped,
    "power cut": power_cut,
    "journal deleted": journal_deleted,
    "journal restored": journal_restored,
    "store restored": store_restored,
    "embedder hangs": embedder_hangs,
    "clock steps": clock_steps,
    "two commands at once": two_commands,
    "stands still": stands_still,
    "disk full": disk_full,
}


ON_SERVERS = {
    "sessions ended": connections_ended,
    "connections ended": connections_ended,
    "server killed": server_killed,
    "leader replaced": leader_replaced,
    "application killed": application_killed,
    "rows without triggers": rows_without_triggers,
    "rows by another client": rows_by_another_client,
    "second configuration": second_configuration,
}


def kinds(world: World) -> dict[str, Callable[..., None]]:
    """Those that may strike a world, and that this machine allows."""
    not_here = set(world.spared)
    if recorder() is None:
        not_here.add("power cut")
    if world.small is None:
        not_here.add("disk full")
    usual = {k: v for k, v in KINDS.items() if k not in not_here}
    return usual | {name: ON_SERVERS[name] for name in world.more}
