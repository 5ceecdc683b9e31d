"""Arrays in .npy files, as numpy and those who borrow its format write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hotfill.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def read_array(path: Path, dimensions: int | None = None) -> NDArray[Any]:
    """Map a .npy file, read-only, so that only what is used is read.

    dimensions: the number of axes; None for any.
    Raises InputError when the file is missing, is something else, needs pickle, or holds numbers
    that numpy does not know, such as bfloat16.
    """
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except (ValueError, EOFError) as error:
        empty = path.exists() and not path.stat().st_size
        why = "it is empty" if empty else "it is something else, or holds Python objects"
        raise InputError(
            f"{path}: cannot be read as a .npy file of numbers ({why}); numpy.save writes them"
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: expected one array, got several: numpy.save writes one")
    if array.dtype.kind == "V":
        raise InputError(
            f"{path}: expected numbers that numpy knows, got {array.dtype.itemsize} bytes each, as "
            "of bfloat16: save it as float32, by `array.astype('float32')`"
        )
    if dimensions is not None and array.ndim != dimensions:
        raise InputError(
            f"{path}: expected one array of {dimensions} dimensions, got {array.shape}"
        )
    return array


def read_ids(path: Path) -> list[str]:
    """Read texts or whole numbers as ids. Raises InputError for anything else."""
    array = read_array(path, 1)
    if array.dtype.kind not in "iuU":
        kinds = {
            "S": "bytes: decode them",
            "f": "floats, as gaps among ids make them: use integers",
        }
        raise InputError(
            f"{path}: ids are texts or whole numbers, got "
            f"{kinds.get(array.dtype.kind, str(array.dtype))}"
        )
    return [str(each) for each in array.tolist()]
