"""A found query model in use: as ONNX, and as an embedder of queries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor, nn

from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import file_revision
from hotfill.errors import HotfillError, InputError
from hotfill.extras import need
from hotfill.lab.architecture_search.search import QueryModelFile
from hotfill.lab.training.checkpoint import Checkpoint
from hotfill.lab.training.items import as_given, scaled
from hotfill.lab.training.model_file import ModelFile
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.types import Vectors


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


# A small model as an embedder of queries for a large model's gallery.
# [new]
# query_embedder = "hotfill.lab.architecture_search.query_embedder:from_options"
# query_options = { path = "{here}/search/query_model.safetensors" }


@final
class QueryEmbedder:
    """Embeds pictures by a small network, to be compared with a large model's vectors.

    path: of the query model that a search found, or of a model that `hotfill train` trained to
        agree with the large one. Takes arrays of the size that the network was trained on, and
        whatever else `as_picture` takes, scaled to it (unless it was trained on an array file).
    Raises InputError when the file is neither, or its dimension is not the large model's.
    """

    def __init__(self, path: Path, *, device: str = "cpu", batch_size: int = 64) -> None:
        read = _read(path)
        large = self._gallery_model = read.gallery_model

        def prepare(content: Any) -> Tensor:
            if isinstance(content, np.ndarray) or not read.side:
                return as_given(content, read.channels)
            return scaled(content, read.side, read.channels)

        pixels = f"{read.side} x {read.side} pixels" if read.side else "as trained"
        model_id = ModelId(
            f"query-{large.name}",
            file_revision(path),
            large.dimension,
            large.metric,
            preprocessing=f"{pixels}, {read.channels} channels",
        )
        self._embedder = TorchEmbedder(
            read.network, model_id, prepare, device=device, batch_size=batch_size
        )

    @property
    def model_id(self) -> ModelId:
        """What tells this query model from others."""
        return self._embedder.model_id

    @property
    def gallery_model(self) -> ModelId:
        """Whose vectors it was trained to search."""
        return self._gallery_model

    def __call__(self, contents: Sequence[Any], /) -> Vectors:
        """Embed contents: float32 (n, dimension), of unit length."""
        return self._embedder(contents)


def from_options(*, path: str, device: str = "cpu", batch_size: int = 64) -> QueryEmbedder:
    """Make the embedder; see `QueryEmbedder`."""
    return QueryEmbedder(Path(path), device=device, batch_size=batch_size)


@dataclass(frozen=True, eq=False)
class _Read:
    """What both kinds of file tell. side: in pixels; 0 = pictures are not scaled."""

    network: nn.Module
    gallery_model: ModelId
    side: int
    channels: int


def _read(path: Path) -> _Read:
    if "query_model" in Checkpoint.read(path).facts:
        found = QueryModelFile.read(path)
        space = found.network.space
        return _Read(found.network, found.gallery_model, space.side, space.channels)
    trained = ModelFile.read(path)
    facts, large = trained.facts, trained.facts.old_model
    if large is None:
        raise InputError(
            f"{path}: expected a model trained to agree with another one, whose gallery it is to "
            f"search; recipe {facts.recipe!r} without an old model's file gives one that stands "
            "alone: train it with --old MODEL_FILE"
        )
    if facts.dimension != large.dimension:
        raise InputError(
            f"{path}: its vectors have {facts.dimension} dimensions, the gallery of {large} has "
            f"{large.dimension}: train it with --dimension {large.dimension}"
        )
    return _Read(trained.model, large, facts.side, facts.channels)
