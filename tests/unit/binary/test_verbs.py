"""The commands' functions: float gallery in, codes out, search, evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hotfill.binary import read_codes
from hotfill.binary.codes import CodeFormat
from hotfill.errors import ConfigError, InputError, ModelMismatchError, ShapeError
from hotfill.lab.binary import (
    binarize_apply,
    binarize_evaluate,
    binarize_fit,
    binarize_search,
    fit_encoder,
    formats_for,
    measure_agreement,
)
from hotfill.lab.binary.choice import nearest, overlap
from hotfill.lab.binary.training import TrainingPlan
from hotfill.types import ModelId

SOURCE = ModelId("text", "3", 32)


def vectors(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Half of the dimensions carry nearly everything."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((30, 32))
    rows = centres[random.integers(0, 30, n)] + 0.7 * random.standard_normal((n, 32))
    return (rows * np.where(np.arange(32) < 16, 1.0, 0.02)).astype(np.float32)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "gallery.npy", vectors(900))
    np.save(tmp_path / "queries.npy", vectors(40, seed=1))
    return tmp_path


def test_a_float_gallery_becomes_a_searched_binary_one(files: Path) -> None:
    gallery, queries = files / "gallery.npy", files / "queries.npy"
    encoder, codes = files / "encoder", files / "codes"
    fit = binarize_fit(gallery, SOURCE, encoder, bytes_per_item=8)
    told: list[tuple[int, int]] = []
    assert binarize_apply(encoder, gallery, codes, progress=lambda *a: told.append(a)) == 900
    assert told[-1] == (900, 900)
    assert read_codes(codes).space == fit.encoder.space
    truth = nearest(vectors(900), vectors(40, 1), 10)
    plain = overlap(binarize_search(encoder, codes, queries, 10).items, truth)
    symmetric = overlap(binarize_search(encoder, codes, queries, 10, symmetric=True).items, truth)
    again = overlap(binarize_search(encoder, codes, queries, 10, rerank=gallery).items, truth)
    report = binarize_evaluate(encoder, gallery, queries)
    assert report.asymmetric == pytest.approx(plain)
    assert report.symmetric == pytest.approx(symmetric)
    assert report.reranked == pytest.approx(again)
    assert (report.bytes_per_item, report.float_bytes) == (10, 128)
    assert symmetric < plain < again
    assert again > 0.98


def test_the_spectrum_decides_between_dimensions_and_bits() -> None:
    """Half the dimensions are nearly empty, so few dimensions of many bits win."""
    fit = fit_encoder(vectors(900), SOURCE, formats_for(32, 8))
    assert fit.encoder.code_format == CodeFormat(16, 4)
    recalls = [tried.ann_recall for tried in fit.tried]
    assert recalls == sorted(recalls, reverse=True)
    assert {tried.code_format.bits for tried in fit.tried} == {2, 4}


def test_training_is_kept_only_where_it_adds() -> None:
    plan = TrainingPlan(epochs=2, batch=256, learning_rate=20.0)  # so large that it destroys
    fit = fit_encoder(vectors(900), SOURCE, (CodeFormat(32, 2),), plan=plan)
    assert fit.tried[-1].how == "trained networks"
    assert fit.encoder.recurrent.networks is None


def test_formats_fill_the_bytes() -> None:
    assert formats_for(256, 64) == (CodeFormat(256, 2), CodeFormat(128, 4))
    assert formats_for(256, 32) == (CodeFormat(256, 1), CodeFormat(128, 2), CodeFormat(64, 4))
    assert formats_for(256, 128) == (CodeFormat(256, 4),)
    assert formats_for(256, 4000) == (CodeFormat(256, 4),)
    with pytest.raises(ConfigError, match="at least 1 byte"):
        formats_for(256, 0)


def test_bad_files_and_options_are_named(files: Path) -> None:
    gallery, encoder = files / "gallery.npy", files / "encoder"
    with pytest.raises(ConfigError, match="either"):
        binarize_fit(gallery, SOURCE, encoder)
    with pytest.raises(ConfigError, match="either"):
        binarize_fit(gallery, SOURCE, encoder, bits=2, bytes_per_item=8)
    with pytest.raises(InputError, match="cannot be read"):
        binarize_fit(files / "nothing.npy", SOURCE, encoder, bits=2)
    (files / "text.npy").write_text("no vectors here")
    with pytest.raises(InputError, match="cannot be read"):
        binarize_fit(files / "text.npy", SOURCE, encoder, bits=2)
    np.save(files / "labels.npy", np.arange(9))
    with pytest.raises(InputError, match="float vectors"):
        binarize_fit(files / "labels.npy", SOURCE, encoder, bits=2)
    with pytest.raises(ShapeError):
        binarize_fit(gallery, ModelId("text", "3", 31), encoder, bits=2)
    assert not encoder.exists()
    with pytest.raises(InputError, match="100 vectors"):
        fit_encoder(vectors(99), SOURCE, (CodeFormat(32, 2),))
    with pytest.raises(ConfigError, match="format"):
        fit_encoder(vectors(900), SOURCE, ())


def test_codes_and_vectors_of_another_fit_are_refused(files: Path) -> None:
    gallery, queries = files / "gallery.npy", files / "queries.npy"
    binarize_fit(gallery, SOURCE, files / "one", bits=2)
    binarize_fit(gallery, SOURCE, files / "two", bits=1)
    binarize_apply(files / "one", gallery, files / "codes")
    with pytest.raises(ModelMismatchError):
        binarize_search(files / "two", files / "codes", queries, 5)
    with pytest.raises(InputError, match="900 vectors"):
        binarize_search(files / "one", files / "codes", queries, 5, rerank=queries)
    np.save(files / "wide.npy", np.ones((3, 33), np.float32))
    with pytest.raises(ShapeError, match="33"):
        binarize_search(files / "one", files / "codes", files / "wide.npy", 5)


def test_too_few_items_to_measure_are_refused() -> None:
    fit = fit_encoder(vectors(200), SOURCE, (CodeFormat(32, 1),))
    with pytest.raises(InputError, match="at least 10 items"):
        measure_agreement(fit.encoder, vectors(5), vectors(5))
