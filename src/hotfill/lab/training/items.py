"""What is trained on: items with ids, labels and contents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hotfill.checks import check_ids
from hotfill.errors import InputError, ShapeError


class Items(Protocol):
    """n training items, numbered from 0.

    item_ids: n different names. labels: (n,) int64, index into `classes`, -1 = not known.
    classes: the names of the classes, in the order of their labels.
    """

    @property
    def item_ids(self) -> Sequence[str]:
        """The n names."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each item."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""
        ...

    def __call__(self, rows: NDArray[np.int64], /) -> Tensor:
        """The contents of some items as one float32 tensor, one row per item, in that order."""
        ...


@final
class ArrayItems:
    """Items held in memory.

    contents: (n, height, width) grey or (n, height, width, channels) pictures, bool, uint8 (then
        divided by 255) or float; or (n, dimension) float vectors. Pictures come out with channels
        first.
    labels: (n,) int64, -1 = not known. classes: names; by default the labels as text.
    Raises ShapeError, InputError, DuplicateItemError.
    """

    def __init__(
        self,
        contents: NDArray[np.generic],
        labels: NDArray[np.int64],
        item_ids: Sequence[str],
        classes: Sequence[str] | None = None,
    ) -> None:
        labels = np.asarray(labels)
        if contents.ndim not in (2, 3, 4) or contents.dtype.kind not in "buf":
            raise ShapeError(
                "contents: expected pictures (n, height, width[, channels]) or vectors "
                f"(n, dimension) of bool, uint8 or float, got {contents.dtype} {contents.shape}"
            )
        if labels.shape != (len(contents),) or labels.dtype.kind not in "iu":
            raise ShapeError(
                f"labels: expected integers ({len(contents)},), got {labels.dtype} {labels.shape}"
            )
        if len(item_ids) != len(contents):
            raise ShapeError(f"item ids: expected {len(contents)}, got {len(item_ids)}")
        check_ids(item_ids)
        count = int(labels.max(initial=-1)) + 1
        if classes is not None and count > len(classes):
            raise InputError(
                f"labels: expected 0 to {len(classes) - 1} or -1, got {count - 1}; name all classes"
            )
        self._contents = contents
        self.labels = labels.astype(np.int64)
        self.item_ids = tuple(item_ids)
        self.classes = tuple(classes) if classes is not None else tuple(map(str, range(count)))

    def __len__(self) -> int:
        return len(self.item_ids)

    def __call__(self, rows: NDArray[np.int64], /) -> Tensor:
        """Return float32 (n, channels, height, width), or (n, dimension) for vectors."""
        return as_tensor(self._contents[rows])


def as_tensor(contents: NDArray[np.generic]) -> Tensor:
    """Return contents as float32; uint8 is divided by 255, pictures come with channels first."""
    found = torch.from_numpy(np.array(contents)).float()  # a copy: the caller may write to its own
    if contents.dtype == np.uint8:
        found = found / 255
    if found.ndim == 3:
        return found.unsqueeze(1)
    return found.permute(0, 3, 1, 2).contiguous() if found.ndim == 4 else found


def read_arrays(path: Path) -> ArrayItems:
    """Read an .npz file: `images`, `labels` (integers or texts), and perhaps `item_ids`.

    Without ids an item is named by its row. Classes are numbered in the order of their labels.
    Raises InputError when the file is no such thing.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
            ids = arrays["item_ids"] if "item_ids" in arrays else np.arange(len(images))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: expected an .npz file with 'images' and 'labels' ({error})"
        ) from error
    names, numbers = np.unique(labels, return_inverse=True)
    return ArrayItems(images, numbers.reshape(-1), [str(i) for i in ids], [str(n) for n in names])
