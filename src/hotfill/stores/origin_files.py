"""Records of imputed vectors' origins as files: in a store's folder, or next to its upgrades."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import final

from hotfill.errors import InputError
from hotfill.files import write_whole

_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")
_ENDING = ".safetensors"


@final
class OriginFiles(MutableMapping[str, bytes]):
    """Records by fingerprint, one file each; the folder is made by the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, origin: str) -> Path:
        if not _NAME.fullmatch(origin):
            raise InputError(f"expected the fingerprint of an origin, got {origin!r}")
        return self._folder / f"{origin}{_ENDING}"

    def __getitem__(self, origin: str) -> bytes:
        try:
            return self._file(origin).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(origin) from error

    def __setitem__(self, origin: str, record: bytes) -> None:
        path = self._file(origin)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, record)

    def __delitem__(self, origin: str) -> None:
        try:
            self._file(origin).unlink()
        except FileNotFoundError as error:
            raise KeyError(origin) from error

    def __iter__(self) -> Iterator[str]:
        # What a kill left half written begins with a dot.
        names = sorted(path.name for path in self._folder.glob(f"*{_ENDING}"))
        return iter([name.removesuffix(_ENDING) for name in names if not name.startswith(".")])

    def __len__(self) -> int:
        return sum(1 for _ in self)
