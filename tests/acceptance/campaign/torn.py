"""A power cut in the middle of a write: the end of SQLite's write-ahead log is lost or garbled."""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER, _FRAME_HEADER = 32, 24
_MOST = 12  # frames that are lost: some commits


def tear(log: Path, random) -> int:
    """Cut or garble the log's end; gives how many of its frames are lost.

    Only what was not yet copied into the database: SQLite syncs the log before it copies.
    """
    written, copied = _frames(log.with_name(log.name.removesuffix("wal") + "shm"))
    (page,) = struct.unpack(">8xI", log.read_bytes()[:12])
    lost = int(random.integers(1, _MOST + 1))
    first = max(copied, written - lost)
    if first >= written:
        return 0
    frame = _FRAME_HEADER + page
    begin = _HEADER + first * frame
    with log.open("r+b") as file:
        if random.integers(2):
            file.truncate(begin + int(random.integers(frame)))
        else:
            file.seek(begin + int(random.integers(frame - 16)))
            file.write(random.bytes(16))
    return written - first


def _frames(index: Path) -> tuple[int, int]:
    """Read from SQLite's index of the log: frames written, and frames copied from it."""
    head = index.read_bytes()[:100]
    return struct.unpack_from("=I", head, 16)[0], struct.unpack_from("=I", head, 96)[0]
