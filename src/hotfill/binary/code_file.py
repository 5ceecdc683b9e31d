"""Codes in a file that is mapped into memory, not read: one record per item.

    bytes 0-7     magic "hotfcode"
    bytes 8-11    version, little-endian uint32
    bytes 12-15   length of the description, uint32
    bytes 16-     description, JSON: space, source, bits, items, data_crc32
    bytes 4092-   crc32 of bytes 0 ... 4091, uint32
    byte 4096-    records: the packed row, then the item's factor as float16

The description is written last, and the file takes its name only when it is whole, so a file
without the right sums is damaged, never half-written.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.binary.codes import CodeFormat, Packed, check_width
from hotfill.errors import InputError, ShapeError
from hotfill.files import sync_folder
from hotfill.types import ModelId

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_MAGIC = b"hotfcode"
_VERSION = 1
_START = 4096  # of the records: one page, so that the map begins on a page of its own
_LARGEST_FACTOR = float(np.finfo(np.float16).max)
_CHECK_BLOCK = 16 << 20


@dataclass(frozen=True)
class Codes:
    """Packed codes with their factors, in memory or mapped from a file.

    code_format: the layout. space: the model id of the codes, None when unstamped.
    packed: uint8 (n, row_bytes). factors: float16 (n,), what a float query's product with the
        code is multiplied by (see `BinaryEncoder.encode`).
    """

    code_format: CodeFormat
    packed: Packed
    factors: NDArray[np.float16]
    space: ModelId | None = None

    def __post_init__(self) -> None:
        check_width(self.packed, self.code_format.row_bytes, "packed rows")
        if self.factors.shape != (len(self.packed),):
            raise ShapeError(
                f"expected one factor per code ({len(self.packed)}), got {self.factors.shape}"
            )

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Any) -> Codes:
        """Copy some rows: an index array, a mask or a slice."""
        return Codes(self.code_format, self.packed[rows], self.factors[rows], self.space)


class CodeFileWriter:
    """Writes a code file batch by batch; leaving the `with` block without an error finishes it."""

    def __init__(self, path: Path | str, *, space: ModelId, source: ModelId, bits: int) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(self._path.name + ".partial")
        self._format = CodeFormat(space.dimension, bits)
        self._description = {"space": space.to_dict(), "source": source.to_dict(), "bits": bits}
        self._items = 0
        self._sum = 0
        self._file = self._partial.open("wb")
        self._file.write(bytes(_START))

    def append(self, codes: Codes) -> None:
        """Write some codes after those before. Raises InputError for another format."""
        if codes.code_format != self._format:
            raise InputError(f"the file holds {self._format}, got {codes.code_format}")
        records = np.empty(len(codes), _record(self._format))
        records["code"] = codes.packed
        records["factor"] = codes.factors
        data = records.tobytes()
        self._sum = zlib.crc32(data, self._sum)
        self._file.write(data)
        self._items += len(codes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                description = {
                    **self._description,
                    "items": self._items,
                    "data_crc32": self._sum,
                }
                self._file.write(_header(description))
                self._file.flush()
                os.fsync(self._file.fileno())
        if kind is None:
            self._partial.replace(self._path)
            sync_folder(self._path.parent)
        else:
            self._partial.unlink(missing_ok=True)


def read_codes(path: Path | str, *, check: bool = True) -> Codes:
    """Map a code file into memory, read-only.

    check: compare the sum of all records too (reads the whole file once, about 1 GB a second).
    Raises InputError when the file is missing, is no code file, is damaged or is of another
    version.
    """
    path = Path(path)
    description = _read_header(path)
    space = ModelId.from_dict(description["space"])
    code_format = CodeFormat(space.dimension, description["bits"])
    record, items = _record(code_format), description["items"]
    expected, size = _START + items * record.itemsize, path.stat().st_size
    if size != expected:
        raise InputError(
            f"{path}: damaged code file: expected {expected} bytes for {items} items, got {size}; "
            "make it again with `hotfill binarize apply`"
        )
    if items == 0:  # an empty map is refused by the operating system
        records = np.empty(0, record)
    else:
        records = np.memmap(path, record, mode="r", offset=_START, shape=(items,))
    if check and _data_sum(path) != description["data_crc32"]:
        raise InputError(
            f"{path}: damaged code file: the sum of its records does not match; "
            "make it again with `hotfill binarize apply`"
        )
    return Codes(code_format, records["code"], records["factor"], space)


def write_codes(path: Path | str, codes: Codes, *, source: ModelId) -> None:
    """Write codes at once. Raises InputError when they carry no space."""
    if codes.space is None:
        raise InputError("codes without a model id cannot be written: make them with an encoder")
    with CodeFileWriter(
        path, space=codes.space, source=source, bits=codes.code_format.bits
    ) as writer:
        writer.append(codes)


def as_factors(values: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """Round factors to float16 (relative error 0.05 %, far below that of a code)."""
    if np.any(~np.isfinite(values)) or np.any(np.abs(values) > _LARGEST_FACTOR):
        raise InputError("factors of codes must be finite and below 65504")
    return values.astype(np.float16)


def _record(code_format: CodeFormat) -> np.dtype[np.void]:
    return np.dtype([("code", "u1", (code_format.row_bytes,)), ("factor", "<f2")])


def _header(description: dict[str, Any]) -> bytes:
    text = json.dumps(description, sort_keys=True).encode()
    head = _MAGIC + struct.pack("<II", _VERSION, len(text)) + text
    if len(head) > _START - 4:
        raise InputError("the names in the model ids are too long for the head of a code file")
    head = head.ljust(_START - 4, b"\0")
    return head + struct.pack("<I", zlib.crc32(head))


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            head = file.read(_START)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(head) < _START or head[:8] != _MAGIC:
        raise InputError(f"{path}: not a code file of hotfill, or its first page is damaged")
    version, length = struct.unpack_from("<II", head, 8)
    if version != _VERSION:
        raise InputError(f"{path}: expected code file version {_VERSION}, got {version}")
    if struct.unpack_from("<I", head, _START - 4)[0] != zlib.crc32(head[: _START - 4]):
        raise InputError(
            f"{path}: damaged code file: its description does not match its sum; "
            "make it again with `hotfill binarize apply`"
        )
    description: dict[str, Any] = json.loads(head[16 : 16 + length])
    return description


def _data_sum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        file.seek(_START)
        while block := file.read(_CHECK_BLOCK):
            total = zlib.crc32(block, total)
    return total
