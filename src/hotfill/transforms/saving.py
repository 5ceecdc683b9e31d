"""Transforms into files: safetensors with a stamp."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotfill.transforms.base import Transform

STAMP = "hotfill.transform"  # the one metadata key; its value is JSON
FORMAT = 1


def save(transform: Transform, path: str | Path) -> None:
    """Write a transform to a safetensors file, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    stamp = {
        "format": FORMAT,
        "kind": transform.kind,
        "source": transform.source.to_dict(),
        "target": transform.target.to_dict(),
        "fingerprint": transform.fingerprint,
        "facts": transform.facts,
    }
    content = to_bytes(dict(transform.arrays), metadata={STAMP: json.dumps(stamp)})
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(target)
