"""Arrays in safetensors files with a JSON stamp. Nothing from a file is executed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

FORMAT = 1


def save_stamped(
    path: str | Path, key: str, stamp: Mapping[str, object], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays and their stamp under one metadata key, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    content = to_bytes(dict(arrays), metadata={key: json.dumps({"format": FORMAT, **stamp})})
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)


def load_stamped(
    path: str | Path, key: str, what: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a stamp and its arrays. what: the word for such a file in messages, "transform", say.

    Raises FileNotFoundError, InputError (damaged, without this stamp, of another format).
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no {what} file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if key not in metadata:
        raise InputError(f"{path} is a safetensors file, but not a {what} that hotfill wrote")
    try:
        stamp = json.loads(metadata[key])
    except ValueError as error:
        raise InputError(f"{path}: its stamp is not readable: {error}") from error
    if not isinstance(stamp, dict) or stamp.get("format") != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT}; written by another hotfill version?")
    return stamp, arrays
