"""The Omniglot drawings that this repository carries, as arrays."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["background", "evaluation"]

DATA = Path(__file__).resolve().parents[2] / "data" / "omniglot"
SIDE = 28  # pixels
DRAWERS = 20  # people who drew each character, numbered from 1


@dataclass(frozen=True, eq=False)
class Drawings:
    """n drawings and what is known about each; row i of every field is the same drawing.

    images: (n, 28, 28) bool, True = ink.
    labels: (n,) int64, the character's class id; no id occurs in both splits.
    drawers: (n,) int64, 1 to 20.
    alphabets: n names, such as "Gurmukhi".
    item_ids: n distinct strings "alphabet/character/drawer", such as "Gurmukhi/character07/12".
        They are the same in every run, whatever subset is loaded.
    """

    images: NDArray[np.bool_]
    labels: NDArray[np.int64]
    drawers: NDArray[np.int64]
    alphabets: list[str]
    item_ids: list[str]

    def __len__(self) -> int:
        return len(self.item_ids)

    def where(self, mask: NDArray[np.bool_]) -> "Drawings":
        """Keep the drawings whose entry in `mask`, (n,) bool, is True, in the same order.

        Raises ValueError when `mask` is not one bool per drawing.
        """
        if mask.shape != (len(self),) or mask.dtype != np.bool_:
            raise ValueError(
                f"expected a bool mask of shape ({len(self)},), got {mask.dtype} {mask.shape}"
            )
        rows = np.flatnonzero(mask)
        return Drawings(
            images=self.images[rows],
            labels=self.labels[rows],
            drawers=self.drawers[rows],
            alphabets=[self.alphabets[row] for row in rows],
            item_ids=[self.item_ids[row] for row in rows],
        )

    def first(self, characters: int) -> "Drawings":
        """Keep the first characters, this many, or all when there are not more."""
        return self.where(np.isin(self.labels, np.unique(self.labels)[:characters]))

    def gallery(self) -> "Drawings":
        """The drawings of drawers 1 to 10: the gallery of every measurement in this demo."""
        return self.where(self.drawers <= 10)

    def queries(self) -> "Drawings":
        """The drawings of drawers 11 to 20: the queries of every measurement in this demo."""
        return self.where(self.drawers > 10)


def load(split: Split, *, folder: Path = DATA) -> Drawings:
    """Load one of the authors' two splits, ordered by class id, then by drawer.

    split: "background" (964 characters, 19,280 drawings, for training) or "evaluation" (659
        characters of other alphabets, 13,180 drawings, for measuring).
    folder: where `drawings.npz` and `classes.tsv` lie.
    Raises ValueError for another split, FileNotFoundError when the files are missing.
    """
    if split not in ("background", "evaluation"):
        raise ValueError(f"expected split 'background' or 'evaluation', got {split!r}")
    with (folder / "classes.tsv").open(encoding="utf-8", newline="") as file:
        characters = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]
    class_ids = np.array([int(row["class_id"]) for row in characters], dtype=np.int64)
    with np.load(folder / "drawings.npz", allow_pickle=False) as arrays:
        packed = arrays["packed"][class_ids]
    images = np.unpackbits(packed, axis=-1, count=SIDE * SIDE, bitorder="big")
    return Drawings(
        images=images.reshape(-1, SIDE, SIDE).astype(np.bool_),
        labels=np.repeat(class_ids, DRAWERS),
        drawers=np.tile(np.arange(1, DRAWERS + 1, dtype=np.int64), len(characters)),
        alphabets=[row["alphabet"] for row in characters for _ in range(DRAWERS)],
        item_ids=[
            f"{row['alphabet']}/{row['character']}/{drawer:02d}"
            for row in characters
            for drawer in range(1, DRAWERS + 1)
        ],
    )
