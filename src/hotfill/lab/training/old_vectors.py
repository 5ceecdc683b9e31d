"""Old vectors by item id, so that training never needs the old model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import safetensors
import safetensors.numpy

from hotfill.checks import check_ids
from hotfill.errors import InputError
from hotfill.types import Vectors
from hotfill.vectors import check_vectors


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
