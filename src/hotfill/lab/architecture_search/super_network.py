"""All architectures of a space at once, with shared weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from hotfill.errors import ConfigError
from hotfill.lab.architecture_search.layers import (
    BlockLayers,
    Layer,
    Place,
    block_layers,
    network_layers,
    places,
)
from hotfill.lab.architecture_search.network import Network, channels_last, convolutions, split
from hotfill.lab.architecture_search.space import Architecture, Block, Space


@final
class SuperNetwork(nn.Module):
    """Trained like any model; `take` then gives any architecture with its share of the weights.

    Each block holds all operations at the largest width; a narrower one uses the first of the
    middle channels. Each call in training mode is one batch. During the first `warm_up_batches`
    nothing is drawn: the outputs of all operations at the largest width are averaged (without
    that, the paper says, training does not converge). Afterwards each batch draws every block's
    operation and width uniformly, from torch's global random numbers, and only those weights get
    a gradient.

    Batch normalisation has neither weights nor running statistics here, since every path has
    others: it goes by the batch. What is taken must be recalibrated (`batch_norm`).
    Raises ConfigError.
    """

    batches: Tensor

    def __init__(self, space: Space, *, warm_up_batches: int) -> None:
        super().__init__()
        if warm_up_batches < 0:
            raise ConfigError(f"warm-up: expected batches >= 0, got {warm_up_batches}")
        self.space, self.warm_up_batches = space, warm_up_batches
        widest = Architecture((Block(space.operations[0], space.widest()),) * space.blocks)
        ends = network_layers(space, widest)
        self._stem, self._last = ends.stem, ends.last
        self.stem, self.last = _weights([ends.stem]), _weights([ends.last])
        self.blocks = nn.ModuleList(_SharedBlock(space, place) for place in places(space))
        self.linear = nn.Linear(*ends.linear, bias=False)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Embed a training batch by the warm-up or by a path of its own draw.

        (n, channels, side, side) float to (n, dimension). Raises ConfigError in evaluation mode,
        where it is not one model: use `take`.
        """
        if not self.training:
            raise ConfigError(
                "a super-network is not one model: take(architecture) gives one, to be "
                "recalibrated before it embeds"
            )
        warming_up = int(self.batches) < self.warm_up_batches
        self.batches += 1
        return self.through(images, None if warming_up else self._draw())

    def through(self, images: Tensor, architecture: Architecture | None) -> Tensor:
        """Embed by one architecture, or by all operations at the largest width, averaged."""
        found = _run(channels_last(images), self.stem, [self._stem])
        chosen = [None] * self.space.blocks if architecture is None else architecture.blocks
        for shared, block in zip(self.blocks, chosen, strict=True):
            found = shared(found, block)
        found = _run(found, self.last, [self._last])
        embeddings: Tensor = self.linear(found.mean(dim=(2, 3)))
        return embeddings

    def take(self, architecture: Architecture) -> Network:
        """Copy one architecture's share of the weights into a network.

        Its batch statistics are unset: recalibrate it. Raises ConfigError for one of another
        space.
        """
        network = Network(self.space, architecture).to(self.linear.weight.device)
        with torch.no_grad():
            _copy(self.stem, convolutions(network.stem))
            _copy(self.last, convolutions(network.last))
            network.linear.weight.copy_(self.linear.weight)
            for shared, block, choice in zip(
                self.blocks, network.blocks, architecture.blocks, strict=True
            ):
                assert isinstance(shared, _SharedBlock)
                main, projection = shared.branches(choice.operation)
                _copy(main, convolutions(block.get_submodule("main")))
                _copy(projection, convolutions(block.get_submodule("projection")))
        return network

    def _draw(self) -> Architecture:
        choices = self.space.choices()
        drawn = torch.randint(len(choices), (self.space.blocks,)).tolist()
        return Architecture(tuple(choices[number] for number in drawn))


@final
class _SharedBlock(nn.Module):
    """All operations of one place, at the largest width."""

    def __init__(self, space: Space, place: Place) -> None:
        super().__init__()
        self.place, self.widest = place, space.widest()
        laid = {name: self._layers(Block(name, self.widest)) for name in space.operations}
        self.main = nn.ModuleDict({name: _weights(both.main) for name, both in laid.items()})
        self.projection = nn.ModuleDict(
            {name: _weights(both.projection) for name, both in laid.items()}
        )

    def forward(self, images: Tensor, block: Block | None) -> Tensor:
        if block is not None:
            return self._one(images, block)
        every = [self._one(images, Block(name, self.widest)) for name in self.main]
        return torch.stack(every).mean(dim=0)

    def branches(self, operation: str) -> tuple[nn.ParameterList, nn.ParameterList]:
        """The weights of one operation: main branch, projection."""
        main, projection = self.main[operation], self.projection[operation]
        assert isinstance(main, nn.ParameterList)
        assert isinstance(projection, nn.ParameterList)
        return main, projection

    def _one(self, images: Tensor, block: Block) -> Tensor:
        layers, (main, projection) = self._layers(block), self.branches(block.operation)
        beside, through = split(images, keep_size=not layers.projection)
        kept = _run(beside, projection, layers.projection)
        return torch.cat((kept, _run(through, main, layers.main)), dim=1)

    def _layers(self, block: Block) -> BlockLayers:
        return block_layers(block, self.place)


def _weights(layers: Sequence[Layer]) -> nn.ParameterList:
    """Weights as torch's own convolution draws them."""
    return nn.ParameterList(
        nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            groups=layer.inputs if layer.depthwise else 1,
            bias=False,
        ).weight
        for layer in layers
    )


def _run(images: Tensor, weights: nn.ParameterList, layers: Sequence[Layer]) -> Tensor:
    """Go through layers that use the first channels of (perhaps wider) weights."""
    for weight, layer in zip(weights, layers, strict=True):
        groups = layer.inputs if layer.depthwise else 1
        images = nn.functional.conv2d(
            images,
            weight[: layer.outputs, : layer.inputs // groups],
            stride=layer.stride,
            padding=layer.kernel // 2,
            groups=groups,
        )
        images = nn.functional.batch_norm(images, None, None, training=True)
        images = images.relu() if layer.relu else images
    return images


def _copy(shared: nn.ParameterList, own: Sequence[nn.Conv2d]) -> None:
    for wide, narrow in zip(shared, own, strict=True):
        outputs, inputs = narrow.weight.shape[:2]
        narrow.weight.copy_(wide[:outputs, :inputs])
