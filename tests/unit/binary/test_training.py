"""Training against double loops and numpy twins; it stops and goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hotfill.binary.codes import CodeFormat, grid_values
from hotfill.binary.recurrent import Recurrent
from hotfill.errors import ConfigError, InputError, ShapeError
from hotfill.lab.binary.choice import measure_agreement
from hotfill.lab.binary.network import (
    Bank,
    CodeNetwork,
    CodeQueue,
    MomentumCopy,
    sign,
    similarity_loss,
    two_way_loss,
)
from hotfill.lab.binary.start import fit_start, pairs_given, pairs_of_items, pairs_of_neighbours
from hotfill.lab.binary.training import (
    TrainingPlan,
    TrainingProgress,
    similarity_plan,
    train_encoder,
)
from hotfill.types import ModelId

SOURCE = ModelId("text", "3", 16)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small matrices: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def vectors(n: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((12, 16))
    rows = centres[random.integers(0, 12, n)] + 0.5 * random.standard_normal((n, 16))
    return rows.astype(np.float32)


def slow_loss(
    a: NDArray[np.float64],
    c: NDArray[np.float64],
    items: NDArray[np.int64],
    bank: NDArray[np.float64],
    bank_items: NDArray[np.int64],
    temperature: float,
    hardest: int,
) -> float:
    """Both directions, one pair and one logit at a time, in float64."""

    def cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float(x @ y / math.sqrt(float(x @ x)) / math.sqrt(float(y @ y)))

    total = 0.0
    for rows, columns in ((a, c), (c, a)):
        for i in range(len(rows)):
            positive = cosine(rows[i], columns[i]) / temperature
            others = [
                cosine(rows[i], columns[j]) / temperature
                for j in range(len(columns))
                if items[j] != items[i]
            ] + [
                cosine(rows[i], bank[j]) / temperature
                for j in range(len(bank))
                if bank_items[j] != items[i]
            ]
            kept = [positive, *sorted(others, reverse=True)[:hardest]]
            total += math.log(sum(math.exp(logit - positive) for logit in kept)) / len(rows)
    return total


@pytest.mark.parametrize("hardest", [1, 3, 50])
def test_the_loss_equals_a_double_loop(hardest: int) -> None:
    random = np.random.default_rng(0)
    a, c, bank = (random.standard_normal((n, 6)) for n in (9, 9, 5))
    items, bank_items = np.array([0, 1, 2, 2, 3, 4, 5, 5, 5]), np.array([0, 2, 7, 8, 9])
    got = two_way_loss(
        *(torch.from_numpy(array) for array in (a, c, a, c, items)),
        temperature=0.3,
        hardest=hardest,
        bank=Bank(torch.from_numpy(bank), torch.from_numpy(bank_items)),
    )
    expected = slow_loss(a, c, items, bank, bank_items, 0.3, hardest)
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_the_similarity_loss_equals_a_double_loop() -> None:
    random = np.random.default_rng(1)
    rows, codes = random.standard_normal((7, 5)), random.standard_normal((7, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    decoder = random.standard_normal((5, 4))
    for i in range(7):  # a code that points away from its row has its factor cut off
        codes[i] *= np.sign(rows[i] @ decoder @ codes[i])
    total = 0.0
    for i in range(7):
        others = [j for j in range(7) if j != i]
        wished = [rows[i] @ rows[j] / 0.2 for j in others]
        given = [
            rows[i] @ decoder @ codes[j] / max(rows[j] @ decoder @ codes[j], 1e-3) / 0.2
            for j in others
        ]
        sums = [math.log(sum(math.exp(x) for x in xs)) for xs in (wished, given)]
        for w, g in zip(wished, given, strict=True):
            total += math.exp(w - sums[0]) * ((w - sums[0]) - (g - sums[1])) / 7
    got = similarity_loss(
        *(torch.from_numpy(array) for array in (rows, codes, decoder)), temperature=0.2
    )
    assert got.item() == pytest.approx(total, rel=1e-9)


def test_similarity_training_finds_more_float_neighbours() -> None:
    rows = vectors(800) * np.linspace(2, 0.2, 16, dtype=np.float32)
    start = fit_start(rows[:700], SOURCE, CodeFormat(16, 1), alternations=0)
    plan = replace(similarity_plan(epochs=6), batch=64)
    trained = train_encoder(start, pairs_of_neighbours(rows[:700], neighbours=5), plan)
    before, after = (
        measure_agreement(encoder, rows[:700], rows[700:]).asymmetric
        for encoder in (start, trained)
    )
    assert after > before + 0.03


def test_signs_let_the_gradient_through_near_the_threshold_only() -> None:
    values = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    signs = sign(values)
    signs.backward(torch.arange(1.0, 8.0))
    assert signs.tolist() == [-1, -1, -1, -1, 1, 1, 1]
    assert values.grad is not None
    assert values.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("anchored", [False, True])
def test_the_exported_network_makes_the_same_codes(bits: int, anchored: bool) -> None:
    torch.manual_seed(0)
    anchor = np.random.default_rng(0).standard_normal((12, 16)).astype(np.float32)
    network = CodeNetwork(CodeFormat(12, bits), 16, 20, anchor if anchored else None)
    rows = vectors(400)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    network.train()
    for _ in range(3):  # give the batch normalisations something to fold
        network(torch.from_numpy(rows))
    with torch.no_grad():
        for block in (network.first, *network.residual):
            torch.nn.init.normal_(block[3].weight)
    network.eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(rows)).numpy()
    got = grid_values(network.export()(rows), CodeFormat(12, bits))
    # Folding changes the last digit, which may move a value that lies on a threshold.
    assert np.mean(expected != got) < 1e-3


def test_an_anchored_network_starts_as_the_grid() -> None:
    start = fit_start(vectors(300), SOURCE, CodeFormat(16, 3))
    network = CodeNetwork(start.code_format, 16, 16, start.recurrent.anchor).eval()
    rows, _ = start.preparation.items(vectors(100))
    grid = Recurrent(start.code_format, start.recurrent.anchor, None)
    assert np.array_equal(network.export()(rows), grid(rows))


@pytest.mark.parametrize("anchored", [False, True])
def test_training_lowers_the_loss_and_learns_to_tell_items_apart(anchored: bool) -> None:
    rows = vectors(256)
    start = fit_start(rows, SOURCE, CodeFormat(16, 2))
    plan = TrainingPlan(epochs=12, batch=64, learning_rate=0.05, anchored=anchored)
    seen: list[TrainingProgress] = []
    encoder = train_encoder(start, pairs_of_items(rows, noise=0.4), plan, progress=seen.append)
    first = np.mean([step.loss for step in seen[:4]])
    last = np.mean([step.loss for step in seen[-4:]])
    assert last < first
    assert (seen[-1].done, seen[-1].total, seen[-1].epoch) == (48, 48, 12)
    assert encoder.space != start.space
    decoded = encoder.decode(encoder.encode(rows))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = np.argmax(unit @ decoded.T, axis=1)
    assert np.mean(nearest == np.arange(256)) > (0.9 if anchored else 0.05)


def test_a_stopped_training_goes_on_to_the_same_end(tmp_path: Path) -> None:
    rows = vectors(128)
    start, pairs = fit_start(rows, SOURCE, CodeFormat(16, 2)), pairs_of_items(rows)
    plan = TrainingPlan(epochs=4, batch=32, queue=64)
    whole = train_encoder(start, pairs, plan)

    def stop(step: TrainingProgress) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder(start, pairs, plan, checkpoint=tmp_path / "state", progress=stop)
    steps: list[TrainingProgress] = []
    resumed = train_encoder(
        start, pairs, plan, checkpoint=tmp_path / "state", progress=steps.append
    )
    assert steps[0].epoch == 3
    assert resumed.fingerprint == whole.fingerprint


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    rows = vectors(64)
    start, pairs = fit_start(rows, SOURCE, CodeFormat(16, 1)), pairs_of_items(rows)
    path = tmp_path / "state"
    train_encoder(start, pairs, TrainingPlan(epochs=1), checkpoint=path)
    with pytest.raises(InputError, match="another training"):
        train_encoder(start, pairs, TrainingPlan(epochs=2), checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        train_encoder(start, pairs, TrainingPlan(epochs=1), checkpoint=path)


def test_the_queue_is_first_in_first_out_and_never_above_its_size() -> None:
    queue = CodeQueue(5)
    assert queue.bank() is None
    for number in range(4):
        queue.put(torch.full((2, 3), float(number)), torch.tensor([number, number]))
    bank = queue.bank()
    assert bank is not None
    assert bank.items.tolist() == [2, 2, 3, 3]


def test_the_momentum_copy_moves_by_its_share() -> None:
    network = CodeNetwork(CodeFormat(4, 1), 4, 4, np.zeros((4, 4), np.float32))
    copy = MomentumCopy(network, 0.75)
    with torch.no_grad():
        assert network.anchor is not None
        network.anchor.fill_(1.0)
    copy.follow(network)
    assert copy.network.anchor is not None
    assert torch.allclose(copy.network.anchor, torch.tensor(0.25))


def test_pairs_of_neighbours_are_the_nearest_others() -> None:
    rows = vectors(40)
    pairs = pairs_of_neighbours(rows, neighbours=3)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    for partners, row in zip(pairs.partners, cosines, strict=True):
        assert set(partners) == set(np.argsort(-row)[:3])


def test_given_pairs_keep_their_items() -> None:
    pairs = pairs_given(vectors(5), vectors(5, 1), np.array([1, 1, 2, 3, 3]))
    assert np.array_equal(pairs.vectors[pairs.partners[2, 0]], vectors(5, 1)[2])
    assert pairs.items[:5].tolist() == [1, 1, 2, 3, 3]


def test_bad_plans_and_pairs_are_named() -> None:
    rows = vectors(64)
    start = fit_start(rows, SOURCE, CodeFormat(16, 1))
    with pytest.raises(ConfigError, match="epochs"):
        TrainingPlan(epochs=0)
    with pytest.raises(ConfigError, match="temperature"):
        TrainingPlan(temperature=0)
    with pytest.raises(InputError, match="2 pairs"):
        train_encoder(start, pairs_of_items(rows[:1]))
    with pytest.raises(ShapeError, match="one shape"):
        pairs_given(rows, rows[:5])
    with pytest.raises(ShapeError, match="one item per pair"):
        pairs_given(rows, rows, np.arange(5))
    with pytest.raises(InputError, match="neighbours"):
        pairs_of_neighbours(rows[:3])
    with pytest.raises(ShapeError, match="old code"):
        train_encoder(start, pairs_of_items(rows), old_values=np.ones((5, 16), np.float32))
    with pytest.raises(InputError, match="at least the 20 dimensions"):
        train_encoder(start, pairs_of_items(rows), old_values=np.ones((64, 20), np.float32))
