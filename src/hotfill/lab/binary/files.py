"""Codes from files to files: what `hotfill binarize` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hotfill.array_files import read_array
from hotfill.binary.code_file import CodeFileWriter, read_codes
from hotfill.binary.codes import CodeFormat, grid_values, unpack
from hotfill.binary.encoder_file import load_encoder, save_encoder
from hotfill.binary.index import CodeIndex
from hotfill.binary.rerank import CodeHits, rerank_by_floats
from hotfill.errors import ConfigError, InputError
from hotfill.lab.binary.choice import (
    Agreement,
    ChosenEncoder,
    fit_encoder,
    formats_for,
    measure_agreement,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotfill.lab.binary.training import TrainingPlan, TrainingProgress
    from hotfill.types import ModelId, Vectors

_BATCH = 65_536
_COARSE_FROM = 100_000  # codes; below, scanning all bits is as quick


def binarize_fit(
    vectors: Path | str | Vectors,
    source: ModelId,
    encoder: Path | str,
    *,
    bytes_per_item: int | None = None,
    dimension: int | None = None,
    bits: int | None = None,
    plan: TrainingPlan | None = None,
    checkpoint: Path | str | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    seed: int = 0,
) -> ChosenEncoder:
    """Fit an encoder on vectors, an array or a .npy file, and write it.

    Give either bytes_per_item, and the best split into dimensions and bits is found, or bits (and
    dimension, else the vectors' own). plan: train networks too. Raises ConfigError, InputError.
    """
    if (bytes_per_item is None) == (bits is None):
        raise ConfigError("give either the bytes per item or the bits per dimension")
    if bytes_per_item is not None:
        formats = formats_for(source.dimension, bytes_per_item)
    else:
        formats = (CodeFormat(dimension or source.dimension, bits or 0),)
    fit = fit_encoder(
        read_vectors(vectors) if isinstance(vectors, Path | str) else vectors,
        source,
        formats,
        plan=plan,
        checkpoint=checkpoint,
        progress=progress,
        seed=seed,
    )
    save_encoder(fit.encoder, encoder)
    return fit


def binarize_apply(
    encoder: Path | str,
    vectors: Path | str,
    codes: Path | str,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the codes of the vectors in a .npy file, batch by batch; returns how many.

    progress: called with the items done and all. Raises InputError, ShapeError, VectorError.
    """
    binariser = load_encoder(encoder)
    rows = read_vectors(vectors)
    bits = binariser.code_format.bits
    with CodeFileWriter(codes, space=binariser.space, source=binariser.source, bits=bits) as writer:
        for start in range(0, len(rows), _BATCH):
            writer.append(binariser.encode(np.asarray(rows[start : start + _BATCH])))
            if progress is not None:
                progress(min(start + _BATCH, len(rows)), len(rows))
    return len(rows)


def binarize_values(codes: Path | str, values: Path | str) -> int:
    """Write codes as a .npy file of float16 grid values, which is exact; returns how many.

    For what takes vectors, such as `hotfill rehearse`. Raises InputError.
    """
    packed = read_codes(codes)
    shape = (len(packed), packed.code_format.dimension)
    with Path(values).open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f2", "fortran_order": False, "shape": shape}
        )
        for start in range(0, len(packed), _BATCH):
            levels = unpack(packed.packed[start : start + _BATCH], packed.code_format)
            file.write(grid_values(levels, packed.code_format).astype("<f2").tobytes())
    return len(packed)


def binarize_search(
    encoder: Path | str,
    codes: Path | str,
    queries: Path | str,
    k: int,
    *,
    symmetric: bool = False,
    lists: int = 1,
    probes: int = 8,
    rerank: Path | str | None = None,
    thread_count: int | None = None,
) -> CodeHits:
    """Search a code file by the float queries in a .npy file; items are row numbers.

    symmetric: binarise the queries too. rerank: a .npy file of the gallery's float vectors, by
    which the 5 k best are ranked again. Raises ModelMismatchError, InputError, ShapeError.
    """
    binariser, gallery = load_encoder(encoder), read_codes(codes)
    binariser.check_codes(gallery)
    coarse = lists == 1 and len(gallery) >= _COARSE_FROM
    index = CodeIndex(gallery, lists=lists, scan_bits=1 if coarse else None)
    asked = np.asarray(read_vectors(queries))
    wished = 5 * k if rerank is not None else k
    hits = index.search(
        binariser.encode(asked) if symmetric else binariser.queries(asked),
        wished,
        probes=probes,
        thread_count=thread_count,
    )
    if rerank is None:
        return hits
    floats = read_vectors(rerank)
    if len(floats) != len(gallery):
        raise InputError(f"expected the {len(gallery)} vectors of the codes, got {len(floats)}")
    return rerank_by_floats(hits, asked, lambda items: np.asarray(floats[items]), k)


def binarize_evaluate(
    encoder: Path | str, gallery: Path | str, queries: Path | str, *, k: int = 10
) -> Agreement:
    """Measure how many of the exact float neighbours codes find; both .npy files are floats."""
    return measure_agreement(
        load_encoder(encoder), read_vectors(gallery), np.asarray(read_vectors(queries)), k=k
    )


def read_vectors(path: Path | str) -> Vectors:
    """Map a .npy file of float vectors, read-only. Raises InputError when it is something else."""
    vectors = read_array(Path(path))
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise InputError(f"{path}: expected one array of float vectors (n, dimension)")
    return vectors
