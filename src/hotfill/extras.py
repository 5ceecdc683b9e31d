"""Optional packages: imported when first needed, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hotfill.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    from hotfill.types import Vectors


def need(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package, or raise MissingExtraError naming the extra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != package:
            raise  # the package is there; something inside it is broken
        raise MissingExtraError(package, extra) from error


def faiss_search(index: Any, queries: Vectors, k: int, params: Any) -> tuple[Any, Any]:
    """Search a FAISS index by parameters of this search.

    Returns scores, float32, and positions, int64, both (q, k).

    faiss.contrib.torch_utils, which pytorch-metric-learning imports, takes `params` from `search`
    of every index of the process, and leaves the method that has it as `search_numpy`.
    """
    search = getattr(index, "search_numpy", index.search)
    scores, positions = search(queries, k, params=params)
    return scores, positions
