"""Text files as people and programs write them.

UTF-8, with or without a byte order mark; lines end with LF, CR LF or CR and with nothing else: the
line separator U+2028 may stand inside a JSON text. Names that end in .gz are unpacked.
"""

from __future__ import annotations

import gzip
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text(path: Path) -> str:
    """Read a whole file. Raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        return file.read()


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers from 1, without their ends.

    Raises InputError as `read_text`.
    """
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.rstrip("\r\n")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            yield cast("TextIO", file)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, {_instead(path, error)}") from error
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _instead(path: Path, error: UnicodeDecodeError) -> str:
    with path.open("rb") as file:
        mark = _MARKS.get(file.read(2))
    if mark is not None:
        return f"got {mark}: save it as UTF-8"
    byte = error.object[error.start]
    return f"got the byte 0x{byte:02x} among it, as in Latin-1 or Windows-1252: save it as UTF-8"
