"""What tells one set of weights from another: the revision of a model that names none."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hotfill.errors import ConfigError
from hotfill.extras import need

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

_DIGITS = 12
_BLOCK = 1 << 20  # bytes of a file read at once


def module_revision(module: nn.Module) -> str:
    """Twelve hexadecimal digits that differ whenever a parameter or buffer differs."""
    torch = need("torch", "train")
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        # As bytes, since numpy does not know every type of torch (bfloat16).
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]


def file_revision(*paths: Path) -> str:
    """Twelve hexadecimal digits of what files hold. Raises ConfigError when one cannot be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:_DIGITS]
