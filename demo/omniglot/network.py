"""The encoders as torch modules, and the way from a trained module to a weight file."""

from pathlib import Path

import safetensors.numpy
import torch
from torch import Tensor, nn

from demo.omniglot.architecture import Architecture


class Network(nn.Module):
    """An architecture with batch normalisation, as it is trained."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels = 1
        for layer in architecture.convolutions:
            self.convolutions.append(
                nn.Conv2d(
                    channels,
                    layer.channels,
                    layer.kernel,
                    layer.stride,
                    padding=layer.kernel // 2,
                    bias=False,
                )
            )
            self.norms.append(nn.BatchNorm2d(layer.channels))
            channels = layer.channels
        self.linear = nn.Linear(architecture.features, architecture.dimension, bias=False)
        self.linear_norm = nn.BatchNorm1d(architecture.dimension)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, 1, 28, 28) float, ink = 1, to (n, dimension) float, not of unit length."""
        pictures = images
        for layer, convolution, norm in zip(
            self.architecture.convolutions, self.convolutions, self.norms, strict=True
        ):
            pictures = torch.relu(norm(convolution(pictures)))
            if layer.pool:
                pictures = nn.functional.max_pool2d(pictures, 2)
        # Height, width, channels: the order in which inference keeps its pictures.
        features = pictures.permute(0, 2, 3, 1).flatten(1)
        embeddings: Tensor = self.linear_norm(self.linear(features))
        return embeddings


def export(network: Network, path: Path) -> None:
    """Fold the batch normalisations into the layers and write float16 safetensors to `path`.

    Convolution weights are stored (kernel, kernel, inputs, outputs), the linear one (features,
    dimension). The network is left as it is.
    """
    tensors: dict[str, Tensor] = {}
    for index, (convolution, norm) in enumerate(
        zip(network.convolutions, network.norms, strict=True)
    ):
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        scale, bias = _scale_and_bias(norm)
        tensors[f"convolution{index}.weight"] = convolution.weight.permute(2, 3, 1, 0) * scale
        tensors[f"convolution{index}.bias"] = bias
    scale, bias = _scale_and_bias(network.linear_norm)
    tensors["linear.weight"] = network.linear.weight.T * scale
    tensors["linear.bias"] = bias
    arrays = {
        name: tensor.detach().contiguous().to(torch.float16).numpy()
        for name, tensor in tensors.items()
    }
    path.write_bytes(safetensors.numpy.save(arrays))


def _scale_and_bias(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What the normalisation does to its input once training is over: x * scale + bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
