"""The ladder: backbones, then FCT, FastFill and SEO's steps on their frozen vectors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.cifar100_paper.backbone import OutOfTimeError, Recipe, embed, train
from benchmarks.cifar100_paper.data import Data, first_half
from benchmarks.mixed_toy.methods import LABELLED, WAYS, Bench
from benchmarks.mixed_toy.toys import Toy
from hotfill.lab.training.transforms import Classifier, MapSettings

STEPS: tuple[tuple[str, str], ...] = (
    ("raw l2", "RM-naive"),
    ("raw l2", "FCT h"),
    ("raw l2", "FastFill"),
    ("normalised", "RM-naive"),
    ("normalised", "RQT"),
    ("normalised", "RQT + CL_old"),
    ("normalised", "RQT + MCL (psi only)"),
    ("normalised", "RQT + independent CL (psi, rho)"),
    ("normalised", "RQT + MCL (psi, rho)"),
    ("normalised", "RQT + MCL (psi of rho)"),
    ("normalised", "lambda-orthogonality"),
    ("raw l2, old x0.5", "RM-naive"),
    ("raw l2, old x0.5", "RQT + independent CL (psi, rho)"),
    ("raw l2, old x0.5", "RQT + MCL (psi, rho)"),
    ("raw l2, old x2", "RQT + MCL (psi, rho)"),
)
"""Way of comparing and method, in the order of section 8. FCT compares by l2 on raw embeddings."""


@dataclass(frozen=True)
class Plan:
    """recipe: of both backbones. forward, contrast: settings of h, and of psi and rho.

    hidden: of psi and rho, 4 x 128 in full. forward_hidden: of h's mixer.
    """

    recipe: Recipe = field(default_factory=Recipe)
    forward: MapSettings = field(default_factory=lambda: MapSettings(epochs=80))
    contrast: MapSettings = field(default_factory=MapSettings)
    hidden: int = 512
    forward_hidden: int = 2048
    steps: tuple[tuple[str, str], ...] = STEPS


def climb(
    plan: Plan, data: Data, *, seed: int, device: str, work: Path, deadline: float
) -> tuple[dict[str, dict], bool]:
    """Do what is missing in the work folder until the deadline; say whether all is there.

    Returns {"way; method": {order: curve}} of what has been measured.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / "curves.json"
    curves: dict[str, dict] = json.loads(path.read_text()) if path.exists() else {}
    try:
        toy = _vectors(plan, data, seed=seed, device=device, work=work, deadline=deadline)
        longest = 0.0
        for way, method in plan.steps:
            key = f"{way}; {method}"
            if key in curves:
                continue
            began = time.monotonic()
            if longest and began + longest > deadline:
                raise OutOfTimeError
            run: Callable[[Bench], dict[str, dict]] = LABELLED[method]
            settings = plan.forward if method in ("FCT h", "FastFill") else plan.contrast
            bench = Bench(
                toy,
                WAYS[way],
                seed,
                settings,
                hidden=plan.hidden,
                forward_hidden=plan.forward_hidden,
            )
            curves[key] = run(bench)
            longest = max(longest, time.monotonic() - began)
            draft = path.with_suffix(".draft")
            draft.write_text(json.dumps(curves, indent=1) + "\n")
            draft.replace(path)
    except OutOfTimeError:
        return curves, False
    return curves, True


def _vectors(plan: Plan, data: Data, *, seed: int, device: str, work: Path, deadline: float) -> Toy:
    """Train both backbones where missing, and embed everything once."""
    path = work / "vectors.npz"
    if not path.exists():
        old_images = data.train.of(first_half(plan.recipe.classes))
        found: dict[str, np.ndarray] = {}
        for name, images, number in (("old", old_images, 0), ("new", data.train, 1)):
            model = train(
                images,
                plan.recipe,
                seed=2 * seed + number,
                device=device,
                path=work / f"{name}.safetensors",
                deadline=deadline,
            )
            for part, pictures in (("train", data.train), ("test", data.test)):
                found[f"{name}_{part}"] = embed(model, pictures, plan.recipe, device=device)
            found["classifier"] = model.classifier.weight.detach().float().cpu().numpy()
        draft = work / "draft.npz"
        np.savez(draft, **found)
        draft.replace(path)
    with np.load(path) as kept:
        vectors = dict(kept)
    return Toy(
        {part: vectors[f"old_{part}"] for part in ("train", "test")},
        {part: vectors[f"new_{part}"] for part in ("train", "test")},
        {"train": data.train.labels, "test": data.test.labels},
        Classifier(vectors["classifier"], np.zeros(len(vectors["classifier"]), dtype=np.float32)),
    )
