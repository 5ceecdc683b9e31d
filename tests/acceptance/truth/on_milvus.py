"""A world whose gallery is on a Milvus server, its journal in a file; one process at a time."""

from __future__ import annotations

from typing import Any

from tests import milvus
from tests.acceptance.truth.shared import OnServer
from tests.acceptance.truth.shop import OLD
from tests.acceptance.truth.world import GenerationsWorld


class MilvusWorld(OnServer):
    """Of one gallery on the server of this process. Searches wait for what was written."""

    def __init__(self, store, folder, random, small=None) -> None:
        self._place = {"location": milvus.server(), "collection": milvus.fresh_name()}
        super().__init__(store, folder, random, small)

    @property
    def spared(self) -> set[str]:
        return super().spared | {"store restored"}

    def _section(self) -> dict[str, Any]:
        return {"kind": "milvus", **self._place, "exact": True, "fresh": True}

    def _create(self):
        from hotfill.stores.milvus import MilvusGallery

        return MilvusGallery.create(model=OLD, **self._place, exact=True, fresh=True)


class MilvusGenerationsWorld(GenerationsWorld, MilvusWorld):
    """The third model on the server."""
