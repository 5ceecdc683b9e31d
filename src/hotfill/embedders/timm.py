"""Pictures, embedded by any model of timm (PyTorch Image Models)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.embedders.pictures import as_picture
from hotfill.embedders.torch_module import TorchEmbedder
from hotfill.embedders.weights import module_revision
from hotfill.errors import ConfigError
from hotfill.extras import need
from hotfill.types import ModelId

if TYPE_CHECKING:
    from torch import Tensor, nn


def from_options(
    *,
    name: str,
    weights: str | None = None,
    dimension: int | None = None,
    revision: str | None = None,
    device: str = "cpu",
    batch_size: int = 64,
) -> TorchEmbedder:
    """Make an embedder of pictures (see `as_picture`), prepared as the model was trained.

    name: of the model in timm, such as "vit_small_patch14_dinov2.lvd142m".
    weights: a .safetensors file; without it timm loads its own pretrained weights, which may
        download them.
    dimension: where the classifier layer gives the embedding (a model trained by
        `hotfill.lab.training`), its width; without it the pooled features before the classifier.
    revision: by default a hash of the weights.
    Vectors have unit length and are compared by the cosine.
    Raises ConfigError, MissingExtraError.
    """
    timm: Any = need("timm", "timm")
    try:
        module = timm.create_model(name, pretrained=weights is None, num_classes=dimension or 0)
    except RuntimeError as error:  # how timm says that it does not know a name
        raise ConfigError(f"timm cannot make the model {name!r}: {error}") from error
    if weights is not None:
        _load(module, Path(weights).expanduser(), keep_classifier=dimension is not None)
    data = timm.data.resolve_model_data_config(module)
    transform = timm.data.create_transform(**data, is_training=False)

    def prepare(content: Any) -> Tensor:
        prepared: Tensor = transform(as_picture(content))
        return prepared

    model_id = ModelId(
        name,
        revision or module_revision(module),
        dimension or module.num_features,
        preprocessing=json.dumps(data, sort_keys=True),
    )
    return TorchEmbedder(module, model_id, prepare, device=device, batch_size=batch_size)


def _load(module: nn.Module, path: Path, *, keep_classifier: bool) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ConfigError(f"weights: expected a .safetensors file, got {path}")
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"weights {path} cannot be read: {error}") from error
    if not keep_classifier:
        config: Any = module.pretrained_cfg
        given = config["classifier"]
        heads = tuple(f"{head}." for head in ([given] if isinstance(given, str) else given or []))
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"weights {path} do not fit the model: {error}") from error
