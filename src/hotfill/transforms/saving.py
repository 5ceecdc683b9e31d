"""Transforms into files: safetensors with a stamp."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

STAMP = "hotfill.transform"  # the one metadata key; its value is JSON
FORMAT = 1


def save(path: str | Path, arrays: Mapping[str, np.ndarray], stamp: Mapping[str, object]) -> None:
    """Write a transform's arrays, and what it says of itself, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    written = json.dumps({"format": FORMAT, **stamp})
    content = to_bytes(dict(arrays), metadata={STAMP: written})
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
