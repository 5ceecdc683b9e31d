"""Encoders in safetensors files: nothing from a file is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from hotfill.binary.codes import CodeFormat
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.mlp import Mlp
from hotfill.binary.preparation import Preparation
from hotfill.binary.recurrent import Networks, Recurrent
from hotfill.errors import InputError
from hotfill.types import ModelId

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KIND = "hotfill binary encoder 1"


def save_encoder(encoder: BinaryEncoder, path: Path | str) -> None:
    """Write an encoder, stamped with its source and the space of its codes."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    save_file(
        {name: array.copy(order="C") for name, array in encoder.arrays().items()},
        partial,
        metadata={
            "kind": _KIND,
            "source": json.dumps(encoder.source.to_dict()),
            "space": json.dumps(encoder.space.to_dict()),
            "dimension": str(encoder.code_format.dimension),
            "bits": str(encoder.code_format.bits),
        },
    )
    partial.replace(path)


def load_encoder(path: Path | str) -> BinaryEncoder:
    """Read an encoder. Raises InputError when the file is missing, damaged or something else."""
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            stamp = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as a safetensors file: {error}") from error
    if stamp.get("kind") != _KIND:
        raise InputError(f"{path}: expected a {_KIND!r}, got {stamp.get('kind')!r}")
    code_format = CodeFormat(int(stamp["dimension"]), int(stamp["bits"]))
    encoder = BinaryEncoder(
        source=ModelId.from_dict(json.loads(stamp["source"])),
        preparation=Preparation(arrays["mean"], arrays.get("projection")),
        recurrent=Recurrent(code_format, arrays.get("anchor"), _networks(arrays, code_format)),
        decoder=arrays["decoder"],
    )
    # The space holds a sum over all weights, so a damaged weight shows here.
    if encoder.space != ModelId.from_dict(json.loads(stamp["space"])):
        raise InputError(f"{path}: damaged: its weights do not make the codes it is stamped with")
    return encoder


def _networks(arrays: dict[str, NDArray[np.float32]], code_format: CodeFormat) -> Networks | None:
    first = Mlp.from_arrays(arrays, "first")
    if first is None:
        return None
    loops = range(code_format.loops)
    back = [Mlp.from_arrays(arrays, f"reconstruction{loop}") for loop in loops]
    residual = [Mlp.from_arrays(arrays, f"residual{loop}") for loop in loops]
    return Networks(
        first,
        tuple(network for network in back if network is not None),
        tuple(network for network in residual if network is not None),
    )
