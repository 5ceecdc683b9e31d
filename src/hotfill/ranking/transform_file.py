"""Transforms from files: safetensors with a stamp. Nothing from a file is executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotfill.errors import HotfillError, InputError, ModelMismatchError
from hotfill.ranking.bridge import Bridge
from hotfill.ranking.kernel import KernelBridge, KernelMap
from hotfill.ranking.networks import ForwardMap, Mlp, ResidualMlp
from hotfill.ranking.transform import FORMAT, STAMP, Affine, Identity, Residual
from hotfill.types import ModelId

if TYPE_CHECKING:
    from hotfill.ranking.transform import Transform

KINDS: dict[str, type[Transform]] = {
    kind.kind: kind
    for kind in (
        Affine,
        Bridge,
        ForwardMap,
        Identity,
        KernelBridge,
        KernelMap,
        Mlp,
        Residual,
        ResidualMlp,
    )
}
"""Which class a file's kind stands for. A new transform is one entry here."""


def load_transform(
    path: str | Path, *, source: ModelId | None = None, target: ModelId | None = None
) -> Transform:
    """Read a transform and make sure that it belongs where it is wanted.

    source, target: the spaces it must join; None accepts whatever the file says.
    Raises ModelMismatchError (stamped with other models), InputError (damaged, or not a transform
    of ours), FileNotFoundError.
    """
    stamp, arrays = _read(Path(path))
    try:
        kind = KINDS[stamp["kind"]]
        found = kind(
            ModelId.from_dict(stamp["source"]),
            ModelId.from_dict(stamp["target"]),
            arrays,
            stamp["facts"],
        )
        expected = stamp["fingerprint"]
    except KeyError as error:
        raise InputError(
            f"{path}: expected a transform of kind {', '.join(sorted(KINDS))}; its stamp lacks or "
            f"does not know {error}; was it written by a newer hotfill?"
        ) from error
    except (HotfillError, TypeError) as error:
        raise InputError(f"{path}: its stamp and its weights do not fit: {error}") from error
    if found.fingerprint != expected:
        raise InputError(
            f"{path}: fingerprint {found.fingerprint} differs from the stamped {expected}; "
            "the file is damaged: fit the transform again"
        )
    for what, wanted, got in (("source", source, found.source), ("target", target, found.target)):
        if wanted is not None and wanted != got:
            raise ModelMismatchError(f"the {what} of the transform in {path}", wanted, got)
    return found


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"there is no transform file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if STAMP not in metadata:
        raise InputError(f"{path} is a safetensors file, but not a transform that hotfill wrote")
    try:
        stamp = json.loads(metadata[STAMP])
    except ValueError as error:
        raise InputError(f"{path}: its stamp is not readable: {error}") from error
    if not isinstance(stamp, dict) or stamp.get("format") != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT}; written by another hotfill version?")
    return stamp, arrays
