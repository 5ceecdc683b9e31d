"""Items, old vectors, checkpoints and models, in and out of files."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hotfill.errors import (
    ConfigError,
    DuplicateItemError,
    InputError,
    MissingExtraError,
    ShapeError,
    SourceError,
    VectorError,
)
from hotfill.lab.training import (
    ArrayItems,
    FolderItems,
    ModelFacts,
    ModelFile,
    OldVectors,
    TrainingSettings,
    build_backbone,
    read_arrays,
)
from hotfill.lab.training.checkpoint import Checkpoint, pack_optimiser, unpack_optimiser
from hotfill.lab.training.fit import BatchOrder


def test_pictures_come_out_with_channels_first_between_0_and_1() -> None:
    grey = ArrayItems(np.full((2, 3, 4), 255, np.uint8), np.zeros(2, int), ["a", "b"])
    assert grey(np.array([1])).shape == (1, 1, 3, 4)
    assert grey(np.array([1])).max() == 1.0
    colour = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    items = ArrayItems(colour, np.zeros(1, int), ["a"])
    found = items(np.array([0]))
    assert found.shape == (1, 3, 2, 4)
    torch.testing.assert_close(found[0, :, 1, 2], torch.from_numpy(colour[0, 1, 2] / 255).float())
    ink = ArrayItems(np.array([[[True, False]]]), np.zeros(1, int), ["a"])
    assert ink(np.array([0])).tolist() == [[[[1.0, 0.0]]]]
    vectors = ArrayItems(np.ones((2, 5), np.float32), np.zeros(2, int), ["a", "b"])
    assert vectors(np.array([0, 1])).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((np.zeros((2, 2, 2, 2, 2)), np.zeros(2, int), ["a", "b"]), ShapeError),
        ((np.zeros((2, 2), complex), np.zeros(2, int), ["a", "b"]), ShapeError),
        ((np.zeros((2, 2)), np.zeros(3, int), ["a", "b"]), ShapeError),
        ((np.zeros((2, 2)), np.zeros(2), ["a", "b"]), ShapeError),
        ((np.zeros((2, 2)), np.zeros(2, int), ["a"]), ShapeError),
        ((np.zeros((2, 2)), np.zeros(2, int), ["a", "a"]), DuplicateItemError),
        ((np.zeros((2, 2)), np.array([0, 3]), ["a", "b"], ["x"]), InputError),
    ],
)
def test_items_that_do_not_fit_are_refused(arguments, error) -> None:
    with pytest.raises(error):
        ArrayItems(*arguments)


def test_an_array_file_names_its_classes(tmp_path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=np.zeros((3, 4, 4), np.uint8), labels=np.array(["b", "a", "b"]))
    items = read_arrays(path)
    assert items.classes == ("a", "b")
    assert items.labels.tolist() == [1, 0, 1]
    assert items.item_ids == ("0", "1", "2")
    (tmp_path / "other.npz").write_bytes(b"nothing")
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(InputError, match=r"expected an \.npz file"):
            read_arrays(tmp_path / name)


def test_a_folder_has_one_subfolder_per_class(tmp_path) -> None:
    for name, shade in {"cat/1.png": 10, "cat/deep/2.png": 20, "ant/1.bmp": 30}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 5), (shade, 0, 255)).save(path)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    items = FolderItems(tmp_path, side=4)
    assert items.classes == ("ant", "cat")
    assert items.item_ids == ("ant/1.bmp", "cat/1.png", "cat/deep/2.png")
    assert items.labels.tolist() == [0, 1, 1]
    found = items(np.array([2, 0]))
    assert found.shape == (2, 3, 4, 4)
    torch.testing.assert_close(found[:, 0, 0, 0] * 255, torch.tensor([20.0, 30.0]))
    assert FolderItems(tmp_path, side=4, channels=1)(np.array([0])).shape == (1, 1, 4, 4)
    (tmp_path / "cat/1.png").write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"cat/1\.png"):
        items(np.array([1]))
    with pytest.raises(InputError, match="one subfolder per class"):
        FolderItems(tmp_path / "nowhere", side=4)
    with pytest.raises(InputError, match="1 or 3"):
        FolderItems(tmp_path, side=4, channels=2)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True), st.integers(1, 5))
def test_old_vectors_come_back_by_id(tmp_path_factory, names, dimension) -> None:
    folder = tmp_path_factory.mktemp("old")
    vectors = np.random.default_rng(0).normal(size=(len(names), dimension)).astype(np.float32)
    kept = OldVectors(names, vectors)
    kept.save(folder / "old.safetensors")
    found = OldVectors.read(folder / "old.safetensors")
    assert found.item_ids == tuple(names)
    np.testing.assert_array_equal(found.of(names[::-1]), vectors[::-1])


def test_old_vectors_are_read_from_npz_and_refused_when_unusable(tmp_path) -> None:
    np.savez(tmp_path / "v.npz", item_ids=np.array(["a", "b"]), vectors=np.eye(2))
    assert OldVectors.read(tmp_path / "v.npz").of(["b"]).tolist() == [[0.0, 1.0]]
    np.savez(tmp_path / "w.npz", vectors=np.eye(2))
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    for name in ("w.npz", "x.safetensors", "missing.npz", "missing.safetensors"):
        with pytest.raises(InputError, match="expected vectors with their item ids"):
            OldVectors.read(tmp_path / name)
    with pytest.raises(VectorError, match="b"):
        OldVectors(["a", "b"], np.array([[1.0, 0.0], [np.nan, 0.0]], np.float32))


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "c.safetensors"
    Checkpoint({"a": torch.ones(2)}, {"step": 1}).save(path)
    with pytest.raises(TypeError):
        Checkpoint({"a": torch.zeros(2)}, {"step": object()}).save(path)
    found = Checkpoint.read(path)
    assert found.facts == {"step": 1}
    assert torch.equal(found.tensors["a"], torch.ones(2))


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_an_optimisers_memory_survives(make, tmp_path) -> None:
    def step(layer, optimiser):
        optimiser.zero_grad()
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()

    options = {"momentum": 0.9} if make is torch.optim.SGD else {}
    layer, copy = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    first = make(layer.parameters(), 0.1, **options)
    second = make(copy.parameters(), 0.1, **options)
    step(layer, first)
    copy.load_state_dict(layer.state_dict())
    Checkpoint(*pack_optimiser(first)).save(tmp_path / "c.safetensors")
    found = Checkpoint.read(tmp_path / "c.safetensors")
    unpack_optimiser(second, found.tensors, found.facts)
    step(layer, first)
    step(copy, second)
    assert torch.equal(layer.weight, copy.weight)


def test_every_item_is_seen_once_per_epoch_and_orders_repeat_with_the_seed() -> None:
    order = BatchOrder(items=20, batch=5, epochs=2, seed=3)
    assert (order.steps_per_epoch, order.steps) == (4, 8)
    for epoch in (0, 1):
        seen = np.concatenate([order.rows(epoch * 4 + place) for place in range(4)])
        assert sorted(seen) == list(range(20))
    again = BatchOrder(items=20, batch=5, epochs=2, seed=3)
    np.testing.assert_array_equal(order.rows(6), again.rows(6))
    assert (order.rows(0) != BatchOrder(20, 5, 2, seed=4).rows(0)).any()
    assert (order.rows(0) != order.rows(4)).any()
    assert len({order.seed_of(step) for step in range(100)}) == 100
    assert len(BatchOrder(items=3, batch=5, epochs=1, seed=0).rows(0)) == 3


@pytest.mark.parametrize("name", ["small", "medium", "resnet18"])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 33)])
def test_a_backbone_embeds_small_pictures(name, channels, side) -> None:
    model = build_backbone(name, channels=channels, dimension=7)
    assert model(torch.randn(2, channels, side, side)).shape == (2, 7)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match="small"):
        build_backbone("huge", channels=1, dimension=7)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_timm_is_asked_for_by_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"hotfill\[timm\]"):
        build_backbone("timm:resnet10t", channels=1, dimension=7)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_timm_gives_backbones() -> None:
    model = build_backbone("timm:resnet10t", channels=1, dimension=7)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)


def test_a_model_comes_back_from_its_file(tmp_path) -> None:
    model = build_backbone("small", channels=1, dimension=7)
    facts = ModelFacts("bct", "small", 1, 7, ("a", "b"))
    ModelFile(facts, model, torch.ones(2, 7), {"w": torch.ones(1)}).save(tmp_path / "m.safetensors")
    found = ModelFile.read(tmp_path / "m.safetensors")
    assert found.facts == facts
    assert torch.equal(found.head, torch.ones(2, 7))
    assert torch.equal(found.up["w"], torch.ones(1))
    images = torch.randn(3, 1, 28, 28)
    assert torch.equal(found.model(images), model.eval()(images))
    Checkpoint({}, {"step": 3}).save(tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="unfinished"):
        ModelFile.read(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"warm_up": 1.0},
        {"optimiser": "adam"},
        {"weight_decay": -1.0},
        {"clip": 0.0},
        {"precision": "float16"},
        {"checkpoint_seconds": -1.0},
    ],
)
def test_impossible_settings_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainingSettings(learning_rate=2.0, warm_up=0.1)
    rates = [settings.learning_rate_at(p / 100) for p in range(101)]
    assert max(rates) == rates[10] == pytest.approx(2.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0)
    assert TrainingSettings(warm_up=0.0).learning_rate_at(0.0) == pytest.approx(1e-2)
