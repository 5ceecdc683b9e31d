"""Who holds something on a server: a name for this process, and whether another one has ended."""

from __future__ import annotations

import os
import secrets
import socket
import time
import zlib
from pathlib import Path

_NONE = "0"


def new_holder() -> str:
    """Name this process: number, start, machine, time of taking, and something never used."""
    pid, taken = os.getpid(), int(time.time())
    return f"p{pid}_{_started(pid)}_{_machine()}_{taken}_{secrets.token_hex(6)}"


def taken_at(holder: str) -> float:
    """Return when a holder was named, in seconds since 1970 by the clock of its machine."""
    return float(holder.split("_")[3])


def has_ended(holder: str) -> bool | None:
    """Tell whether a process of this machine has ended; None for one of another machine."""
    pid, started, machine, *_ = holder[1:].split("_")
    if machine != _machine() or not Path("/proc/self").exists():
        return None
    now = _started(int(pid))
    return now == _NONE or now != started


def _machine() -> str:
    """Name the world in which a process number means something: kernel, container, host."""
    boot, world = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [
        socket.gethostname(),
        boot.read_text(encoding="utf-8") if boot.exists() else "",
        str(world.readlink()) if world.is_symlink() else "",
    ]
    return f"{zlib.crc32('|'.join(parts).encode()):08x}"


def _started(pid: int) -> str:
    """Return when a process of this machine was started, in ticks; "0" if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return _NONE
    state, *rest = text.rpartition(")")[2].split()
    return _NONE if state in "ZX" else rest[18]
