"""What is trained on: items with ids, labels and contents, and what models make of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hotfill.checks import check_ids
from hotfill.embedders.pictures import as_picture
from hotfill.errors import InputError, ShapeError, SourceError
from hotfill.types import Vectors
from hotfill.vectors import check_vectors


class TrainingItems(Protocol):
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


def scaled(content: Any, side: int, channels: int) -> Tensor:
    """Return (channels, side, side), 0 to 1, of whatever `as_picture` takes. Raises InputError."""
    mode = "L" if channels == 1 else "RGB"
    picture = np.asarray(as_picture(content).convert(mode).resize((side, side)))
    return as_tensor(picture.reshape(1, side, side, channels))[0]


def as_given(content: Any, channels: int) -> Tensor:
    """Return (channels, height, width) of an array (height, width[, channels]), its size kept.

    Raises InputError when it is no such array of bool, uint8 or float.
    """
    array = np.asarray(content)
    if array.ndim not in (2, 3) or array.dtype.kind not in "buf":
        raise InputError(
            f"expected (height, width[, channels]) of bool, uint8 or float, got {array.dtype} "
            f"{array.shape}"
        )
    picture = as_tensor(array[None])[0]
    if len(picture) != channels:
        raise InputError(f"expected {channels} channels, got {len(picture)}")
    return picture


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
                scaled = as_picture(path).convert(mode).resize((side, side))
            except InputError as error:
                raise SourceError(f"{path}: {error}") from error
            pictures[place] = np.asarray(scaled).reshape(side, side, self._channels)
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@final
class OldVectors:
    """What the old model made of items.

    item_ids: n names. vectors: (n, dimension) float32, of any length.
    Raises ShapeError, VectorError, DuplicateItemError.
    """

    def __init__(self, item_ids: Sequence[str], vectors: Vectors) -> None:
        check_ids(item_ids)
        dimension = vectors.shape[1] if vectors.ndim == 2 else 0
        self.vectors = check_vectors(vectors, dimension, item_ids=item_ids, what="old vectors")
        self.item_ids = tuple(item_ids)
        self._row = {name: row for row, name in enumerate(self.item_ids)}

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def of(self, item_ids: Sequence[str]) -> Vectors:
        """The vectors of some items, in that order. Raises InputError naming missing ones."""
        missing = [name for name in item_ids if name not in self._row]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise InputError(
                f"old vectors: expected one for each of {len(item_ids)} items, but {len(missing)} "
                f"are missing: {', '.join(missing[:5])}{more}; embed them with the old model, or "
                "leave them out of the training set"
            )
        return self.vectors[[self._row[name] for name in item_ids]]

    def save(self, path: Path) -> None:
        """Write a safetensors file with the ids in its header."""
        safetensors.numpy.save_file(
            {"vectors": self.vectors}, path, metadata={"item_ids": json.dumps(self.item_ids)}
        )

    @classmethod
    def read(cls, path: Path) -> OldVectors:
        """Read what `save` wrote, or an .npz file with `item_ids` and `vectors`.

        Raises InputError when the file is neither.
        """
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return cls([str(i) for i in arrays["item_ids"]], arrays["vectors"])
            with safetensors.safe_open(path, framework="numpy") as file:
                ids = json.loads(file.metadata()["item_ids"])
                return cls(ids, file.get_tensor("vectors"))
        except (OSError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise InputError(
                f"{path}: expected vectors with their item ids, as .safetensors or .npz ({error})"
            ) from error


def embed(
    model: nn.Module,
    items: TrainingItems,
    *,
    device: str = "cpu",
    batch: int = 512,
    unit: bool = True,
) -> Vectors:
    """Embed every item in order, in evaluation mode; the model's mode is put back afterwards.

    unit: bring rows to unit length. Returns float32 (n, dimension).
    """
    training = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(items.item_ids), batch):
            rows = np.arange(start, min(start + batch, len(items.item_ids)))
            found = model(items(rows).to(device)).float()
            parts.append((nn.functional.normalize(found) if unit else found).cpu().numpy())
    model.train(training)
    return np.concatenate(parts)
