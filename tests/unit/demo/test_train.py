import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from demo.omniglot import drawings, train  # noqa: E402
from demo.omniglot.architecture import NEW, OLD, Architecture  # noqa: E402
from demo.omniglot.augment import distort  # noqa: E402
from demo.omniglot.encoders import Encoder  # noqa: E402
from demo.omniglot.loss import CosineMarginLoss  # noqa: E402
from demo.omniglot.network import Network, export  # noqa: E402


@pytest.mark.parametrize("file", ["old", "new"])
def test_a_tiny_training_leaves_weights_that_the_encoder_reads(file: str, tmp_path: Path) -> None:
    train.main(["--only", file, "--epochs", "1", "--characters", "15", "--output", str(tmp_path)])
    facts = json.loads((tmp_path / f"{file}.json").read_text(encoding="utf-8"))
    assert facts["characters"] == 15
    assert facts["quality"]["characters"] == 15
    assert 0 < facts["quality"]["map"] <= 1
    encoder = Encoder({"old": OLD, "new": NEW}[file], tmp_path / f"{file}.safetensors")
    assert encoder.revision == facts["revision"]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    recipe = replace(train.RECIPES[0], epochs=1)
    data = train.seen(recipe).first(15)
    for folder in ("first", "second"):
        train.train(recipe, data, tmp_path / folder)
    train.train(replace(recipe, seed=99), data, tmp_path / "other")
    weights = {
        folder: (tmp_path / folder / "old.safetensors").read_bytes()
        for folder in ("first", "second", "other")
    }
    assert weights["first"] == weights["second"] != weights["other"]


def test_the_old_encoder_sees_half_the_background_and_the_new_one_all_of_it() -> None:
    old, new = (train.seen(recipe) for recipe in train.RECIPES)
    assert len(set(old.alphabets)) == 15
    assert len(set(new.alphabets)) == 30
    assert set(old.item_ids) < set(new.item_ids) == set(drawings.load("background").item_ids)


@pytest.mark.parametrize("architecture", [OLD, NEW], ids=["old", "new"])
def test_numpy_gives_what_torch_gives(architecture: Architecture, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(architecture)
    images = drawings.load("evaluation").images[::401]
    pictures = torch.from_numpy(images).float().unsqueeze(1)
    for _ in range(20):  # so that the running means are those of something
        network(pictures)
    network.eval()
    with torch.no_grad():
        expected = torch.nn.functional.normalize(network(pictures)).numpy()
    export(network, tmp_path / "weights.safetensors")
    received = Encoder(architecture, tmp_path / "weights.safetensors")(images)
    assert np.min(np.sum(expected * received, axis=1)) > 0.9999  # the rest is float16


def test_distortion_keeps_drawings_drawings() -> None:
    images = torch.from_numpy(drawings.load("evaluation").images[:200]).float().unsqueeze(1)
    distorted = distort(images, torch.Generator().manual_seed(0))
    assert distorted.shape == images.shape
    assert np.unique(distorted.numpy()).tolist() == [0.0, 1.0]
    assert 0.7 < float(distorted.mean() / images.mean()) < 1.3
    assert not torch.equal(distorted, images)


def test_the_loss_equals_the_loops() -> None:
    torch.manual_seed(0)
    loss = CosineMarginLoss(3, 4, scale=5.0, margin=0.3)
    embeddings, labels = torch.randn(2, 4), torch.tensor([2, 0])
    centres = loss.centres.detach().double().numpy()
    expected = 0.0
    for embedding, label in zip(embeddings.double().numpy(), labels.tolist(), strict=True):
        logits = []
        for number, centre in enumerate(centres):
            cosine = embedding @ centre / np.linalg.norm(embedding) / np.linalg.norm(centre)
            logits.append(5.0 * (cosine - (0.3 if number == label else 0.0)))
        expected += -np.log(np.exp(logits[label]) / np.sum(np.exp(logits))) / 2
    assert float(loss(embeddings, labels).detach()) == pytest.approx(expected, abs=1e-5)
