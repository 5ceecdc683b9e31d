"""An index of other people: whether it can be taken over, and what should be known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from hotfill.errors import StoreError
from hotfill.stores.redis import documents
from hotfill.stores.redis.server import MissingIndexError
from hotfill.stores.redis.stamp import Attribute, Base, RedisStamp, SpaceIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotfill.stores.redis.server import RedisServer
    from hotfill.types import ModelId

_LOOKED_AT = 1000


def look(server: RedisServer, index: str, model: ModelId, vector: str) -> RedisStamp:
    """Return the stamp of an index as a gallery. Raises StoreError naming what does not fit.

    vector: the attribute of the index, or the field behind it.
    """
    try:
        info = server.info(index)
    except MissingIndexError as error:
        raise StoreError(f"there is no index {index!r}") from error
    definition = info["index_definition"]
    prefixes = definition["prefixes"]
    if len(prefixes) != 1:
        raise StoreError(
            f"index {index!r} is over documents with {len(prefixes)} prefixes "
            f"({', '.join(map(repr, prefixes))}): hotfill writes new documents under one; make an "
            "index for each"
        )
    if definition.get("filter"):
        raise StoreError(
            f"index {index!r} leaves out documents by the filter {definition['filter']!r}, which "
            "an index of ours over the same documents could not have too"
        )
    kind = cast('Literal["hash", "json"]', definition["key_type"].lower())
    attributes = [_Attribute(values) for values in info["attributes"]]
    found = _vector(attributes, index, vector)
    if kind == "json" and not documents.is_simple(found.field):
        raise StoreError(
            f"index {index!r}: {found.field!r} may lead to several vectors of a document; hotfill "
            "takes paths of names and dots"
        )
    if found["data_type"] != "FLOAT32":
        raise StoreError(
            f"index {index!r} holds numbers of type {found['data_type']} in {vector!r}; hotfill "
            "takes over FLOAT32"
        )
    if int(found["dim"]) != model.dimension:
        raise StoreError(
            f"index {index!r}: {vector!r} holds vectors with {found['dim']} numbers, those of "
            f"{model} have {model.dimension}"
        )
    space = SpaceIndex(
        model=model,
        number=1,
        index=index,
        field=found.field,
        attribute=found.name,
        metric=_metric(found, index, model),
        graph=found["algorithm"] == "HNSW",
    )
    return RedisStamp(
        name=index,
        documents=kind,
        prefix=prefixes[0],
        spaces=(space,),
        epoch=1,
        next_number=2,
        base=Base(found.field, 1, model.dimension),
        prepared=False,
        attributes=tuple(each.stamped() for each in attributes if each.kind != "VECTOR"),
        hidden=tuple(each.field for each in attributes if each.kind == "VECTOR"),
    )


class _Attribute:
    """One attribute of an index, as the server describes it."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.name, self.field = values["attribute"], values["identifier"]
        self.kind = values["type"]

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def stamped(self) -> Attribute:
        return Attribute(
            name=self.name,
            field=self.field,
            kind=self.kind,
            separator=self._values.get("SEPARATOR", ""),
            exact_case="CASESENSITIVE" in self._values.get("flags", ()),
        )


def _vector(attributes: list[_Attribute], index: str, vector: str) -> _Attribute:
    there = [each for each in attributes if each.kind == "VECTOR"]
    for each in there:
        if vector in (each.name, each.field):
            return each
    held = ", ".join(each.name for each in there) or "none"
    raise StoreError(f"index {index!r} has no vectors called {vector!r}; it has {held}")


def _metric(found: _Attribute, index: str, model: ModelId) -> str:
    fitting = {
        "cosine": ["COSINE", *(["IP"] if model.normalised else [])],
        "dot": ["IP"],
        "l2": ["L2"],
    }[model.metric]
    metric = str(found["distance_metric"])
    if metric not in fitting:
        raise StoreError(
            f"index {index!r} compares {found.name!r} by {metric}; vectors of {model} are compared "
            f"by {model.metric} ({' or '.join(fitting)})"
        )
    return metric


# What an operator should know ---------------------------------------------------------------------


def durability(server: RedisServer) -> list[str]:
    """Say which acknowledged writes the server may lose or throw away."""
    said = []
    appends, syncs = server.setting("appendonly"), server.setting("appendfsync")
    if appends is None:
        said.append(
            "the server does not show its settings: writes survive a crash only with "
            "`appendonly yes` and `appendfsync always`"
        )
    elif appends != "yes":
        said.append(
            "the server keeps no log of writes (appendonly is no): what was written since its last "
            "snapshot is lost when it stops; set `appendonly yes` and `appendfsync always`"
        )
    elif syncs != "always":
        lost = "the last second" if syncs == "everysec" else "the last half minute or so"
        said.append(
            f"the server's log of writes reaches the disk late (appendfsync is {syncs}): a power "
            f"cut loses {lost} of acknowledged writes; set `appendfsync always`"
        )
    policy = server.setting("maxmemory-policy")
    if server.memory()[1] and policy not in (None, "noeviction"):
        said.append(
            f"the server throws items away when its memory is full (maxmemory-policy is {policy}): "
            "set `noeviction`"
        )
    return said


def vectors(server: RedisServer, stamp: RedisStamp) -> list[str]:
    """Look at adopted documents: vectors that are not there, zeros, and lengths nobody promised."""
    if stamp.base is None or not stamp.spaces or not stamp.is_base(stamp.spaces[0]):
        return []
    space, said = stamp.spaces[0], []
    there = 0
    names: list[str] = []
    for some in server.keys(stamp):
        there += len(some)
        names += some[: _LOOKED_AT - len(names)]
    items = sum(server.sizes(list(server.listed(each.side).values())) for each in stamp.spaces)
    if there > items:
        said.append(
            f"{there - items:,} of {there:,} documents have no vector of {space.model.dimension} "
            f"numbers in {space.field!r}: they are no items, and are left out"
        )
    reader = documents.of(stamp)
    texts = [row[4] for row in server.read(stamp, names, "vectors", space.number) if row[4]]
    rows = [reader.row(text, space.model.dimension) for text in texts]
    norms = np.array([np.linalg.norm(row) for row in rows if row is not None])
    zeros, other = int((norms == 0).sum()), int((abs(norms[norms > 0] - 1) > 0.01).sum())
    if zeros and space.model.metric == "cosine":
        said.append(
            f"{zeros:,} of {len(norms):,} vectors looked at are all zero: they have no direction "
            "and are left out of fitting; the upgrade embeds them like others"
        )
    if other and space.model.normalised:
        said.append(
            f"{other:,} of {len(norms):,} vectors looked at are not of unit length, which "
            f"{space.model} promises: say normalised = false, or name the model that made them"
        )
    return said
