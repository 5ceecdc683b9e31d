"""The two encoders, run with numpy alone.

The weights are made by `train.py`. Pictures are kept channels-last, so that a convolution is one
copy of windows and one matrix product.
"""

import hashlib
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from demo.omniglot.architecture import NEW, OLD, Architecture
from demo.omniglot.drawings import DATA, SIDE

Floats = NDArray[np.float32]

# Drawings at once: the windows of a batch then stay in the processor's cache. More is slower.
BATCH = 32


def old(*, folder: Path = DATA) -> "Encoder":
    """The weaker encoder: 64-d, trained on half of the background alphabets."""
    return Encoder(OLD, folder / "old.safetensors")


def new(*, folder: Path = DATA) -> "Encoder":
    """The stronger encoder: 128-d, trained on all background alphabets."""
    return Encoder(NEW, folder / "new.safetensors")


class Encoder:
    """Turns drawings into embeddings.

    name: which architecture and training recipe. revision: first 12 hexadecimal digits of the
    SHA-256 of the weight file, so other weights are another revision. dimension: numbers per
    embedding.
    """

    def __init__(self, architecture: Architecture, weights: Path) -> None:
        """Read `weights`, a safetensors file as `network.export` writes it.

        Raises FileNotFoundError, and ValueError when a tensor's shape is not the architecture's.
        """
        content = weights.read_bytes()
        tensors = {
            name: tensor.astype(np.float32)
            for name, tensor in safetensors.numpy.load(content).items()
        }
        expected = tensor_shapes(architecture)
        received = {name: tensor.shape for name, tensor in tensors.items()}
        if received != expected:
            raise ValueError(
                f"{weights.name} does not fit {architecture.name}: expected {expected}, "
                f"got {received}"
            )
        self.name = architecture.name
        self.dimension = architecture.dimension
        self.revision = hashlib.sha256(content).hexdigest()[:12]
        self._architecture = architecture
        self._tensors = tensors

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dimension={self.dimension}, revision={self.revision!r})"

    def __call__(self, images: NDArray[np.bool_] | NDArray[np.uint8]) -> Floats:
        """Embed drawings.

        images: (n, 28, 28) bool or uint8, nonzero = ink; n may be 0.
        Returns (n, dimension) float32, rows of unit length, in the order given.
        Raises ValueError for another shape or dtype.
        """
        if images.shape[1:] != (SIDE, SIDE) or images.dtype not in (np.bool_, np.uint8):
            raise ValueError(
                f"expected bool or uint8 images of shape (n, {SIDE}, {SIDE}), "
                f"got {images.dtype} {images.shape}"
            )
        embeddings = np.empty((len(images), self.dimension), dtype=np.float32)
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            embeddings[start : start + BATCH] = self._embed(batch)
        return embeddings

    def _embed(self, images: NDArray[np.bool_] | NDArray[np.uint8]) -> Floats:
        pictures = (images != 0).astype(np.float32)[..., np.newaxis]
        for index, convolution in enumerate(self._architecture.convolutions):
            pictures = convolve(
                pictures,
                self._tensors[f"convolution{index}.weight"],
                self._tensors[f"convolution{index}.bias"],
                stride=convolution.stride,
            )
            if convolution.pool:
                # Pooling and ReLU can be swapped; this way there is a quarter to clip.
                pictures = pool(pictures)
            np.maximum(pictures, 0, out=pictures)
        features = pictures.reshape(len(images), -1)
        embeddings = features @ self._tensors["linear.weight"] + self._tensors["linear.bias"]
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return np.asarray(embeddings / norms, dtype=np.float32)


def tensor_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor in the weight file of `architecture`."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 1
    for index, convolution in enumerate(architecture.convolutions):
        kernel = convolution.kernel
        shapes[f"convolution{index}.weight"] = (kernel, kernel, channels, convolution.channels)
        shapes[f"convolution{index}.bias"] = (convolution.channels,)
        channels = convolution.channels
    shapes["linear.weight"] = (architecture.features, architecture.dimension)
    shapes["linear.bias"] = (architecture.dimension,)
    return shapes


def convolve(pictures: Floats, weight: Floats, bias: Floats, *, stride: int = 1) -> Floats:
    """Convolve, with zeros around, so that stride 1 keeps height and width.

    pictures: (n, height, width, inputs). weight: (kernel, kernel, inputs, outputs), kernel odd;
    not flipped, as in every deep-learning library. bias: (outputs,).
    Returns (n, ceil(height / stride), ceil(width / stride), outputs).
    """
    kernel, _, inputs, outputs = weight.shape
    count, height, width, _ = pictures.shape
    margin = kernel // 2
    padded = np.pad(pictures, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows, columns = -(-height // stride), -(-width // stride)
    windows = np.empty((count, rows, columns, kernel, kernel, inputs), dtype=np.float32)
    for down in range(kernel):
        for right in range(kernel):
            windows[:, :, :, down, right] = padded[
                :, down : down + height : stride, right : right + width : stride
            ]
    flat = windows.reshape(-1, kernel * kernel * inputs) @ weight.reshape(-1, outputs)
    flat += bias
    return flat.reshape(count, rows, columns, outputs)


def pool(pictures: Floats) -> Floats:
    """Maximum of each 2x2 square: (n, height, width, c) to (n, height // 2, width // 2, c)."""
    height, width = pictures.shape[1] // 2 * 2, pictures.shape[2] // 2 * 2
    even, odd = pictures[:, 0:height:2], pictures[:, 1:height:2]
    taller = np.maximum(even, odd)
    return np.maximum(taller[:, :, 0:width:2], taller[:, :, 1:width:2])
