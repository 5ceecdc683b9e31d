"""A content's identity: equal contents get equal hashes, in every process and on every day."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError

if TYPE_CHECKING:
    from hashlib import _Hash

_BLOCK = 1 << 20  # bytes of a file read at once


def content_hash(content: Any) -> bytes:
    """Return 32 bytes (SHA-256) that stand for a content.

    Texts, bytes, numbers, numpy arrays, pictures of Pillow, and lists and mappings of these. A path
    stands for the bytes of its file, so that a changed file is a changed content.
    Raises InputError for anything else, and for a file that cannot be read.
    """
    digest = hashlib.sha256()
    _add(digest, content)
    return digest.digest()


def _add(digest: _Hash, content: Any) -> None:
    if isinstance(content, str):
        _add_bytes(digest, b"text", content.encode("utf-8", "surrogatepass"))
    elif isinstance(content, bytes | bytearray | memoryview):
        _add_bytes(digest, b"bytes", bytes(content))
    elif content is None or isinstance(content, bool | int | float):
        _add_bytes(digest, b"scalar", repr(content).encode())
    elif isinstance(content, np.ndarray | np.generic):
        _add_array(digest, np.asarray(content))
    elif isinstance(content, Path):
        _add_file(digest, content)
    elif isinstance(content, Mapping):
        # By the keys' own hashes, so that the order in which they were put in does not count.
        pairs = sorted((content_hash(key), content_hash(value)) for key, value in content.items())
        _add_bytes(digest, b"mapping", b"".join(key + value for key, value in pairs))
    elif isinstance(content, Sequence):
        _add_bytes(digest, b"list", b"".join(content_hash(each) for each in content))
    elif hasattr(content, "tobytes") and hasattr(content, "mode") and hasattr(content, "size"):
        _add_bytes(digest, b"picture", f"{content.mode} {content.size}".encode())
        _add_bytes(digest, b"pixels", content.tobytes())
    else:
        raise InputError(
            f"a content of type {type(content).__name__} has no hash; give the cache a "
            "`hash_of` that makes bytes of it"
        )


def _add_bytes(digest: _Hash, kind: bytes, value: bytes) -> None:
    # The length comes first: otherwise two contents could run into each other.
    digest.update(kind + struct.pack("<Q", len(value)))
    digest.update(value)


def _add_array(digest: _Hash, array: np.ndarray[Any, Any]) -> None:
    if array.dtype.hasobject:
        raise InputError("an array of Python objects has no hash; give numbers")
    _add_bytes(digest, b"array", f"{array.dtype.str} {array.shape}".encode())
    _add_bytes(digest, b"values", np.ascontiguousarray(array).tobytes())


def _add_file(digest: _Hash, path: Path) -> None:
    try:
        with path.open("rb") as file:
            inner = hashlib.sha256()
            while block := file.read(_BLOCK):
                inner.update(block)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    _add_bytes(digest, b"file", inner.digest())
