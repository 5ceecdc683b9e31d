"""What stores say of a space that another process has dropped in the meantime."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hotfill.errors import ModelMismatchError
from hotfill.stores.chroma.stamp import ChromaStamp
from hotfill.stores.milvus.stamp import MilvusStamp
from hotfill.stores.postgres.stamp import PostgresStamp
from hotfill.stores.qdrant.stamp import QdrantStamp
from hotfill.stores.redis.stamp import RedisStamp
from hotfill.types import ModelId

OLD, NEW = ModelId("old", "1", 4), ModelId("new", "1", 6)


@pytest.mark.parametrize(
    "stamp", [ChromaStamp, MilvusStamp, PostgresStamp, QdrantStamp, RedisStamp]
)
def test_a_space_that_is_gone_is_named(stamp):
    left = SimpleNamespace(models=(OLD,), spaces=(SimpleNamespace(model=OLD),))
    assert stamp.space(left, OLD).model == OLD
    with pytest.raises(ModelMismatchError, match="new"):
        stamp.space(left, NEW)
