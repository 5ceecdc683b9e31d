"""Recipe: a published method as a list of weighted Terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, final

from torch import Tensor, nn

from hotfill.errors import ConfigError
from hotfill.lab.losses.head import Head
from hotfill.lab.losses.maps import SameSpace, SpaceMap
from hotfill.lab.losses.pairs import PairedBatch
from hotfill.lab.losses.references import Reference, ReferencePair
from hotfill.lab.losses.term import Term, Value, nothing

Weight: TypeAlias = float | Callable[[float], float]
"""A number, or a function of progress (0 to 1)."""

Weigher: TypeAlias = Callable[[PairedBatch, ReferencePair], Tensor]
"""Gives each item of a batch its own weight, (n,) >= 0, without gradient."""


@dataclass(frozen=True)
class Part:
    """One Term of a Recipe.

    name: unique in the recipe; logs and errors use it.
    weight: of the whole Term. Where it is 0 the Term is not computed.
    direction: "down" where new embeddings ask in the old space, "up" where old ones ask in the new
        space, None where nothing is mapped.
    weigh: a weight per item, in addition to that of the pairs.
    """

    name: str
    term: Term
    weight: Weight = 1.0
    direction: Literal["down", "up"] | None = None
    weigh: Weigher | None = None


@dataclass(frozen=True)
class Refresh:
    """When old anchors are to be built again, with the help of the new model.

    at: values of progress. build: (old embeddings, new embeddings, labels) of the whole training
    set, row by row the same items, to new anchors.
    """

    at: Sequence[float]
    build: Callable[[Tensor, Tensor, Tensor], Reference]

    def due(self, before: float, now: float) -> bool:
        """Tell whether a refresh lies after `before`, and not after `now`."""
        return any(before < moment <= now for moment in self.at)


@final
class Recipe(nn.Module):
    """Everything that a method adds to a model: call it with a batch, get one loss.

        loss = recipe(PairedBatch(model(images), old_vectors, labels), progress).loss

    Give its `parameters()` to the optimiser with the model's: heads, critics, learnt radii and
    maps live in it. `state_dict()` holds them and the anchors.

    name: of the method. parts: its Terms. head: the new classes. anchors: the old classes.
    down, up: the maps between the spaces. refresh: when anchors are renewed.
    Raises ConfigError when two parts share a name.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Part],
        *,
        head: Head | None = None,
        anchors: Reference | None = None,
        down: SpaceMap | None = None,
        up: SpaceMap | None = None,
        refresh: Refresh | None = None,
    ) -> None:
        super().__init__()
        names = [part.name for part in parts]
        if len(set(names)) != len(names):
            raise ConfigError(f"recipe {name!r}: two parts share a name among {names}")
        self.name, self.parts, self.refresh = name, tuple(parts), refresh
        self.head = head
        self.terms = nn.ModuleList([part.term for part in parts])
        self.maps = nn.ModuleDict({"down": down or SameSpace(), "up": up or SameSpace()})
        self._stay = SameSpace()
        self._anchors = None if anchors is None else _Held(anchors)

    @property
    def needs(self) -> frozenset[str]:
        """What batches must have: "old" embeddings, "label"s."""
        return frozenset().union(*(part.term.needs for part in self.parts))

    @property
    def references(self) -> ReferencePair:
        """The current anchors of both spaces."""
        return ReferencePair(
            old=None if self._anchors is None else self._anchors.reference(),
            new=None if self.head is None else self.head.reference(),
        )

    def renew(self, anchors: Reference) -> None:
        """Replace the old anchors, as a Refresh asks for.

        Raises ConfigError where there were none, or with other parts or shapes: what is saved
        before and after a renewal must be alike.
        """
        if self._anchors is None:
            raise ConfigError(f"recipe {self.name!r} has no old anchors to renew")
        device = self._anchors.reference().vectors.device
        held = _Held(anchors.map_tensors(lambda tensor: tensor.to(device)))
        if _shapes(held) != _shapes(self._anchors):
            raise ConfigError(
                f"recipe {self.name!r}: renewed anchors must have the parts and shapes of those "
                f"before, {_shapes(self._anchors)}; got {_shapes(held)}"
            )
        self._anchors = held

    def forward(self, pairs: PairedBatch, progress: float = 0.0) -> Value:
        """The weighted sum of the parts.

        progress: share of the training done, 0 to 1.
        Raises InputError, ShapeError as the Terms do, ConfigError for progress outside 0 to 1.
        """
        if not 0.0 <= progress <= 1.0:
            raise ConfigError(f"progress runs from 0 to 1, got {progress}")
        references = self.references
        total, values = nothing(pairs.new).loss, {}
        for part in self.parts:
            weight = part.weight(progress) if callable(part.weight) else part.weight
            if weight == 0.0:
                continue
            batch = pairs
            if part.weigh is not None:
                batch = pairs.weighted(part.weigh(pairs, references))
            map_ = self._stay if part.direction is None else self.maps[part.direction]
            value: Value = part.term(batch, references, map_, progress)
            values[part.name] = value
            total = total + weight * value.loss
        active = max((value.active for value in values.values()), default=0)
        return Value(total, active, values)


class _Held(nn.Module):
    """A Reference as buffers, so that it moves and is saved with the recipe."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self._space = reference.space
        for field in fields(Reference):
            part = getattr(reference, field.name)
            if isinstance(part, Tensor):
                self.register_buffer(field.name, part.detach().clone())

    def reference(self) -> Reference:
        return Reference(**dict(self.named_buffers()), space=self._space)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(buffer.shape) for name, buffer in module.named_buffers()}
