"""Encoders in safetensors files: nothing from a file is executed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.binary.codes import CodeFormat
from hotfill.binary.encoder import BinaryEncoder
from hotfill.binary.mlp import Mlp
from hotfill.binary.preparation import Preparation
from hotfill.binary.recurrent import Networks, Recurrent
from hotfill.errors import InputError
from hotfill.files import load_stamped, save_stamped
from hotfill.types import ModelId

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_STAMP = "hotfill.binary_encoder"


def save_encoder(encoder: BinaryEncoder, path: Path | str) -> None:
    """Write an encoder, stamped with its source and the space of its codes."""
    stamp = {
        "source": encoder.source.to_dict(),
        "space": encoder.space.to_dict(),
        "dimension": encoder.code_format.dimension,
        "bits": encoder.code_format.bits,
    }
    save_stamped(path, _STAMP, stamp, encoder.arrays())


def load_encoder(path: Path | str) -> BinaryEncoder:
    """Read an encoder. Raises InputError when the file is missing, damaged or something else."""
    try:
        stamp, arrays = load_stamped(path, _STAMP, "binary encoder")
    except FileNotFoundError as error:
        raise InputError(str(error)) from error
    code_format = CodeFormat(stamp["dimension"], stamp["bits"])
    encoder = BinaryEncoder(
        source=ModelId.from_dict(stamp["source"]),
        preparation=Preparation(arrays["mean"], arrays.get("projection")),
        recurrent=Recurrent(code_format, arrays.get("anchor"), _networks(arrays, code_format)),
        decoder=arrays["decoder"],
    )
    # The space holds a sum over all weights, so a damaged weight shows here.
    if encoder.space != ModelId.from_dict(stamp["space"]):
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
