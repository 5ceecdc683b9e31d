"""Training items from a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hotfill.errors import InputError, SourceError
from hotfill.extras import need

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


@final
class FolderItems:
    """Pictures in one subfolder per class, read when they are needed.

    folder: holds "class/name.png" and so on, at any depth below the class; an item's id is that
        path. Pictures of other endings are left out.
    side: pictures are scaled to side x side pixels. channels: 1 (grey) or 3 (colour).
    Raises InputError when there is no picture. Reading raises SourceError, naming the item.
    """

    def __init__(self, folder: Path, *, side: int, channels: int = 3) -> None:
        self._images = need("PIL.Image", "train")
        if channels not in (1, 3):
            raise InputError(f"channels: expected 1 or 3, got {channels}")
        paths = sorted(
            path
            for path in folder.glob("*/**/*")
            if path.suffix.lower() in ENDINGS and path.is_file()
        )
        if not paths:
            raise InputError(
                f"{folder}: expected pictures ({', '.join(ENDINGS)}) in one subfolder per class, "
                "found none"
            )
        names = [path.relative_to(folder) for path in paths]
        self.classes = tuple(sorted({name.parts[0] for name in names}))
        number = {name: label for label, name in enumerate(self.classes)}
        self.labels = np.array([number[name.parts[0]] for name in names], dtype=np.int64)
        self.item_ids = tuple(name.as_posix() for name in names)
        self._folder, self._side, self._channels = folder, side, channels

    def __len__(self) -> int:
        return len(self.item_ids)

    def __call__(self, rows: NDArray[np.int64], /) -> Tensor:
        """Return float32 (n, channels, side, side), 0 to 1."""
        mode, side = ("L" if self._channels == 1 else "RGB"), self._side
        pictures = np.empty((len(rows), side, side, self._channels), dtype=np.uint8)
        for place, row in enumerate(rows):
            path = self._folder / self.item_ids[row]
            try:
                with self._images.open(path) as image:
                    scaled = image.convert(mode).resize((side, side))
            except (OSError, ValueError) as error:
                raise SourceError(f"{path}: expected a readable picture ({error})") from error
            pictures[place] = np.asarray(scaled).reshape(side, side, self._channels)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
