"""What a run consists of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hotfill.lab.architecture_search.evolution import Evolution
from hotfill.lab.architecture_search.search import LONGER
from hotfill.lab.training import TrainingSettings

DISTILLATIONS = ("l2", "aml", "csd", "raml", "d3still", "ssp")


@dataclass(frozen=True)
class Plan:
    """The numbers of one benchmark.

    classes: to train on. shards: of CIFAR-100's training set, 100 pictures a class in each; 0 for
    Omniglot. test_classes: that are searched, of Omniglot; of CIFAR-100 those trained on.
    large_width: of the gallery model, a residual network (64 would be ResNet-18). stem: of the
    search space. share: of the gallery model's FLOPs, what a query may cost.
    held_out: items of each training class for the reward; where the test is on classes that nobody
    trained on, as in Omniglot, held_out_classes instead. finalists: of each search, retrained; the
    best on what was held out is reported. distillations: compared with seed 0 only.
    query: how query models are trained, the found and the hand-made ones alike.
    """

    name: str
    classes: int
    shards: int
    test_classes: int
    large_width: int
    dimension: int
    large: TrainingSettings
    query: TrainingSettings
    super_training: TrainingSettings
    warm_up_epochs: int
    evolution: Evolution
    stem: int
    share: float
    held_out: int
    calibration_batches: int
    held_out_classes: int = 0
    finalists: int = 5
    distillations: tuple[str, ...] = DISTILLATIONS


def share_name(share: float) -> str:
    """Write a share of the gallery model's FLOPs as the rows do: 1/20."""
    return f"1/{round(1 / share)}"


QUICK = Plan(
    "quick",
    classes=24,
    shards=0,
    test_classes=24,
    large_width=8,
    dimension=32,
    large=TrainingSettings(epochs=6, batch=32),
    query=TrainingSettings(epochs=8, batch=32),
    super_training=TrainingSettings(epochs=6, batch=32),
    warm_up_epochs=1,
    evolution=Evolution(generations=2, population=3, crossover=2, parents=2),
    stem=6,
    share=1 / 20,
    held_out=0,
    held_out_classes=4,
    finalists=2,
    calibration_batches=1,
    distillations=("l2",),
)

OMNIGLOT = Plan(
    "omniglot",
    classes=400,
    shards=0,
    test_classes=150,
    large_width=16,
    dimension=64,
    large=TrainingSettings(epochs=48, batch=64),
    query=TrainingSettings(epochs=24, batch=64),
    super_training=TrainingSettings(epochs=24, batch=64),
    warm_up_epochs=2,
    evolution=Evolution(generations=6, population=12, crossover=8, parents=6),
    stem=20,  # a random architecture costs two thirds of the budget, the dearest more than all
    share=1 / 20,
    held_out=0,
    held_out_classes=80,
    calibration_batches=4,
)

_CIFAR_TRAINING = TrainingSettings(epochs=24, batch=64)
CIFAR100 = replace(
    OMNIGLOT,
    name="cifar100",
    classes=20,
    shards=2,
    test_classes=0,
    large=_CIFAR_TRAINING,
    query=_CIFAR_TRAINING,
    super_training=_CIFAR_TRAINING,
    held_out=20,
    held_out_classes=0,
    distillations=("l2", "csd"),
)


def as_long(plan: Plan) -> Plan:
    """Train the gallery model for as long as the small one that is kept: a bar not set too low."""
    large = replace(plan.large, epochs=LONGER * plan.large.epochs)
    return replace(plan, name=f"{plan.name}-as-long", large=large)


def on_a_gpu(device: str) -> Plan:
    """ResNet-18 for the gallery, all of the training shards, the paper's search."""
    fast = {
        "batch": 256,
        "optimiser": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "clip": 5.0,
        "device": device,
        "precision": "bfloat16",
    }
    return Plan(
        "cifar100-resnet18",
        classes=100,
        shards=3,
        test_classes=0,
        large_width=64,
        dimension=128,
        large=TrainingSettings(epochs=80, **fast),  # type: ignore[arg-type]
        query=TrainingSettings(epochs=120, **fast),  # type: ignore[arg-type]
        super_training=TrainingSettings(epochs=120, **fast),  # type: ignore[arg-type]
        warm_up_epochs=10,
        evolution=Evolution(),
        stem=32,
        share=1 / 20,
        held_out=30,
        calibration_batches=20,
    )
