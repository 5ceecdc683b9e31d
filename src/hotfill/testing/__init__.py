"""The suite that every store passes, for stores of your own. Needs pytest.

A `conftest.py` names the plugin and makes galleries of the store:

    pytest_plugins = ["hotfill.testing"]

    @pytest.fixture
    def store(tmp_path):
        with Store(create=lambda model: MyGallery.create(tmp_path / str(uuid4()), model)) as made:
            yield made

and a test module takes the tests over:

    from hotfill.testing.suite import *

Each test is a statement of what hotfill relies on. Where galleries outlive their process, name a
fixture `persistent` too, with `reopen`; without one these tests are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.register_assert_rewrite("hotfill.testing.suite")

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from hotfill.stores.base import Gallery
    from hotfill.types import ModelId, Vectors


@dataclass
class Store:
    """Makes galleries of one kind and closes them afterwards.

    create: makes an empty gallery with the space of a model, another one in each call.
    reopen: closes a gallery and opens it again, as a new process would; None where nothing stays.
    """

    create: Callable[[ModelId], Gallery]
    reopen: Callable[[Gallery], Gallery] | None = None
    made: list[Gallery] = field(default_factory=list)

    def gallery(self, *models: ModelId) -> Gallery:
        """Make an empty gallery with these spaces."""
        gallery = self.create(models[0])
        for model in models[1:]:
            gallery.add_space(model)
        self.made.append(gallery)
        return gallery

    def again(self, gallery: Gallery) -> Gallery:
        """Close and open a gallery; where nothing stays, go on with the same one."""
        if self.reopen is None:
            return gallery
        gallery = self.reopen(gallery)
        self.made.append(gallery)
        return gallery

    def close(self) -> None:
        """Close every gallery. Idempotent."""
        for gallery in self.made:
            gallery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@pytest.fixture
def persistent() -> Store:
    """Skip: no fixture of this name makes galleries that outlive their process."""
    pytest.skip("no fixture `persistent` is there")


@pytest.fixture
def rows() -> Callable[[int, ModelId], Vectors]:
    """Make vectors: the same ones in each run, different ones in each call."""
    random = np.random.default_rng(5)

    def make(n: int, model: ModelId) -> Vectors:
        vectors = random.normal(size=(n, model.dimension)).astype(np.float32)
        if model.metric == "cosine":
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    return make
