"""Make `data/omniglot/drawings.npz` and `classes.tsv` from the raw arrays.

    python -m demo.omniglot.pack --from DIR

DIR holds `omniglot_28.npz` (`images`: uint8 (1623, 20, 28, 28), the 105x105 originals averaged
over boxes, ink bright), and `classes.tsv` (class_id, split, alphabet, character, ...).
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.omniglot.drawings import DATA, DRAWERS, SIDE

CLASSES = 1623

# A pixel is ink when at least an eighth of its box is. Strokes are two or three of the 105 pixels
# wide, less than one of the 28: with the usual half they break into dots, and nearest neighbours
# on the pixels fall from 25 % to 20 % (the grey pictures: 24 %).
INK = 32  # grey level, of 255

COLUMNS = ("class_id", "split", "alphabet", "character")


def pack_images(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Binarise and pack: (classes, 20, 28, 28) uint8 to (classes, 20, 98) uint8.

    Eight pixels share a byte, row by row, the first pixel in the highest bit.
    Raises ValueError for another shape or dtype.
    """
    if grey.shape[1:] != (DRAWERS, SIDE, SIDE) or grey.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 (n, {DRAWERS}, {SIDE}, {SIDE}), got {grey.dtype} {grey.shape}"
        )
    ink = (grey >= INK).reshape(len(grey), DRAWERS, SIDE * SIDE)
    return np.packbits(ink, axis=-1, bitorder="big")


def write(source: Path, target: Path) -> None:
    """Read the raw files in `source`, write the packed ones into `target`.

    Raises ValueError when the images and the class table do not describe all 1,623 characters.
    """
    with np.load(source / "omniglot_28.npz", allow_pickle=False) as arrays:
        packed = pack_images(arrays["images"])
    with (source / "classes.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if len(packed) != CLASSES or [row["class_id"] for row in rows] != [
        str(class_id) for class_id in range(CLASSES)
    ]:
        raise ValueError(
            f"expected {CLASSES} classes in order, got {len(packed)} in the images and "
            f"{len(rows)} in classes.tsv"
        )
    target.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target / "drawings.npz", packed=packed)
    with (target / "classes.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(
            file, COLUMNS, delimiter="\t", lineterminator="\n", extrasaction="ignore"
        )
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description="Pack the Omniglot drawings for this repository.")
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="DIR")
    parser.add_argument("--to", dest="target", type=Path, default=DATA, metavar="DIR")
    arguments = parser.parse_args()
    write(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
