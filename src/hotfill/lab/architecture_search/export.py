"""A query model as ONNX, compared with torch before anybody relies on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from hotfill.errors import HotfillError
from hotfill.extras import need

TOLERANCE = 1e-4  # of unit vectors, largest difference of one number
OPERATOR_SET = 17


@dataclass(frozen=True, slots=True)
class Exported:
    """path: the file. bytes: its size. difference: largest, onnxruntime against torch."""

    path: Path
    bytes: int
    difference: float


def export(network: nn.Module, path: Path, *, channels: int, side: int) -> Exported:
    """Write a network as ONNX, run it with onnxruntime and compare.

    The file takes `images`, float32 (n, channels, side, side) for any n, and gives `embeddings`,
    float32 (n, dimension), rows of unit length. Needs the extra `onnx`. Raises HotfillError, and
    leaves no file, for a network that ONNX cannot say, or when the two differ by more than 1e-4.
    """
    need("onnx", "onnx")
    need("onnxruntime", "onnx")
    images = torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    draft = path.with_name(f"{path.name}.draft")
    mode = network.training
    unit = _Unit(network).eval()
    try:
        with _translated(path), warnings.catch_warnings():
            # The newer exporter takes half a minute for these networks and needs two more packages;
            # torch is pinned, so the older one stays there.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                unit,
                (images,),
                str(draft),
                input_names=["images"],
                output_names=["embeddings"],
                dynamic_axes={"images": {0: "n"}, "embeddings": {0: "n"}},
                opset_version=OPERATOR_SET,
                dynamo=False,
            )
        with torch.inference_mode():
            expected = unit(images[:2]).numpy()
    finally:
        network.train(mode)
    found = session(draft).run(None, {"images": images[:2].numpy()})[0]
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        draft.unlink()
        raise HotfillError(
            f"{path}: onnxruntime and torch differ by {difference:.2g}, more than {TOLERANCE:g}; "
            "nothing was written"
        )
    draft.replace(path)
    return Exported(path, path.stat().st_size, difference)


def session(path: Path, *, threads: int = 1) -> Any:
    """Open an exported network with onnxruntime on the CPU. Needs the extra `onnx`."""
    onnxruntime = need("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).partition("\n")[0]
        raise HotfillError(f"{path}: the network cannot be exported to ONNX: {reason}") from error


@final
class _Unit(nn.Module):
    """A network, then unit length."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.network(images))
