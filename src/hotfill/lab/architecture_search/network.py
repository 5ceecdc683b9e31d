"""Architectures as networks: one alone, and all of a space with shared weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from hotfill.errors import ConfigError, InputError
from hotfill.lab.architecture_search.space import (
    Architecture,
    Block,
    BlockLayers,
    BlockPlace,
    Layer,
    SearchSpace,
    block_layers,
    network_layers,
    places,
)


@final
class Network(nn.Module):
    """A query model: pictures in, embeddings out.

    space, architecture: what it is. Raises ConfigError when they do not fit together.
    """

    def __init__(self, space: SearchSpace, architecture: Architecture) -> None:
        super().__init__()
        layers = network_layers(space, architecture)
        self.space, self.architecture = space, architecture
        self.stem = convolution(layers.stem)
        self.blocks = nn.Sequential(*(ShuffleBlock(block) for block in layers.blocks))
        self.last = convolution(layers.last)
        self.linear = nn.Linear(*layers.linear, bias=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Embed (n, channels, side, side) float pictures: (n, dimension), of any length."""
        found = self.last(self.blocks(self.stem(channels_last(images))))
        embeddings: Tensor = self.linear(found.mean(dim=(2, 3)))
        return embeddings


@final
class ShuffleBlock(nn.Module):
    """Half of the channels through `main`, half through `projection` or left alone."""

    def __init__(self, layers: BlockLayers) -> None:
        super().__init__()
        self.main = nn.Sequential(*(convolution(layer) for layer in layers.main))
        self.projection = nn.Sequential(*(convolution(layer) for layer in layers.projection))

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, inputs, height, width); height and width are halved by a projection."""
        beside, through = split(images, keep_size=len(self.projection) == 0)
        return torch.cat((self.projection(beside), self.main(through)), dim=1)


def split(images: Tensor, *, keep_size: bool) -> tuple[Tensor, Tensor]:
    """What goes around the main branch, and through it.

    Even and odd channels: that is the shuffle, since the branches come out one after the other.
    """
    return (images[:, 0::2], channels_last(images[:, 1::2])) if keep_size else (images, images)


def channels_last(images: Tensor) -> Tensor:
    """The same (n, channels, height, width) with the channels of a pixel side by side.

    On a CPU a depthwise convolution trains two to five times as fast that way.
    """
    return images.contiguous(memory_format=torch.channels_last)


def convolution(layer: Layer) -> nn.Sequential:
    """Build one layer."""
    parts: list[nn.Module] = [
        nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            layer.stride,
            padding=layer.kernel // 2,
            groups=layer.inputs if layer.depthwise else 1,
            bias=False,
        ),
        nn.BatchNorm2d(layer.outputs),
    ]
    return nn.Sequential(*parts, *([nn.ReLU()] if layer.relu else []))


def convolutions(layers: nn.Module) -> Sequence[nn.Conv2d]:
    """The convolutions in a module, in order."""
    return [module for module in layers.modules() if isinstance(module, nn.Conv2d)]


# All architectures of a space at once, with shared weights.


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

    def __init__(self, space: SearchSpace, *, warm_up_batches: int) -> None:
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

    def __init__(self, space: SearchSpace, place: BlockPlace) -> None:
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


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the running statistics of every batch normalisation to the mean over some batches.

    Weights stay unchanged, and so does the network's mode. Batches come from the *training* set,
    without labels; the reference search code takes 200 batches of 128. Skipping this is the usual
    reason for a search that finds nothing.
    Returns how many batches there were. Raises InputError when there are none.
    """
    norms = [module for module in network.modules() if isinstance(module, _NORMS)]
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain mean over all batches
        norm.train()
    count = 0
    with torch.no_grad():
        for batch in batches:
            network(batch)
            count += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in modes:
        module.training = mode
    if not count and norms:
        raise InputError("batch statistics: expected at least one batch, got none")
    return count


# What any network costs, counted while it runs.


def module_flops(network: nn.Module, *, channels: int, side: int) -> int:
    """Multiply-adds of one picture through convolutions and linear layers, as `flops` counts.

    network: (1, channels, side, side) float to embeddings; its mode is put back afterwards.
    """
    total = 0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    mode = network.training
    device = next(network.parameters()).device
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, side, side, device=device))
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    return total
