"""One data set, one seed: the gallery model, every query model, and what each is worth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.compatible_training.data import Pictures, Task
from benchmarks.heterogeneous.nets import HandMade
from benchmarks.heterogeneous.plans import Plan, share_name
from hotfill.lab.architecture_search.evolution import History, RewardName, evolve, reward
from hotfill.lab.architecture_search.gallery_model import GalleryModel, GalleryVectors, Validation
from hotfill.lab.architecture_search.network import Network, module_flops
from hotfill.lab.architecture_search.query_embedder import export, session
from hotfill.lab.architecture_search.search import (
    SearchPlan,
    agreeing_recipe,
    candidate_measure,
    search,
    train_super_network,
)
from hotfill.lab.architecture_search.space import Architecture, Budget, small_space
from hotfill.lab.losses import Cosine, Head, Recipe, asymmetric, recipes
from hotfill.lab.losses.asymmetric import product_centroids
from hotfill.lab.losses.references import from_head
from hotfill.lab.training import ArrayItems, OldVectors, TrainingSettings, fit
from hotfill.lab.training.backbones import ResidualCnn
from hotfill.lab.training.items import embed
from hotfill.metrics import average_precision, hit_rate, rank_scores, same_label
from hotfill.types import ModelId

SCORE = Cosine(20.0, 0.1)
REWARDS: tuple[RewardName, ...] = ("r1", "r2", "r3")
REWARD_OF = {f"cmp-nas {name}": name for name in REWARDS}
LATENCY_RUNS = 300
Row = dict[str, object]


class Experiment:
    """work: for checkpoints, histories and exported models; one folder per data set and seed."""

    def __init__(self, plan: Plan, task: Task, seed: int, work: Path) -> None:
        self.plan, self.task, self.seed = plan, task, seed
        self.work = work / f"{plan.name}-{seed}"
        self.work.mkdir(parents=True, exist_ok=True)
        held = _held_out(task.train.labels, plan.held_out, seed)
        held |= _held_out_classes(task.train.labels, plan.held_out_classes, seed)
        self.train = _items(task.train.where(~held))
        test = (task.queries, task.gallery)
        self.queries, self.gallery = (_items(part) for part in test)
        self.relevance = same_label(self.queries.labels, self.gallery.labels)
        place = np.cumsum(held) % 2 == 0
        self.validation_items = (
            _items(task.train.where(held & place)),
            _items(task.train.where(held & ~place)),
        )
        pictures = self.train(np.arange(1))
        self.channels, self.side = pictures.shape[1], pictures.shape[3]
        self.space = small_space(
            side=self.side, channels=self.channels, dimension=plan.dimension, stem=plan.stem
        )

    def rows(self, done: set[str]) -> Iterator[Row]:
        """Train and measure, leaving out the systems that are done."""
        large, head = self._large()
        cost = module_flops(large, channels=self.channels, side=self.side)
        budget = Budget(self.space, int(cost * self.plan.share))
        device = self.plan.large.device
        gallery = embed(large, self.gallery, device=device)
        if "large" not in done:
            yield self._row("large", large, large_gallery=gallery)
        model = self._gallery_model(head)
        validation = self._validation(large, model)
        found, seconds = self._searches(model, budget, validation)
        trained: dict[Architecture, nn.Module] = {}
        best: dict[str, Architecture] = {}
        for name, finalists in found.items():
            for architecture in finalists:
                if architecture not in trained:
                    trained[architecture] = self._query(
                        Network(self.space, architecture),
                        lambda: agreeing_recipe(model),
                        f"finalist-{len(trained)}",
                    )
            worth = {
                architecture: reward(
                    REWARD_OF.get(name, "r3"),
                    validation.measure(trained[architecture], device=device),
                )
                for architecture in finalists
            }
            best[name] = max(worth, key=worth.__getitem__)
            if name not in done:
                yield self._row(
                    name,
                    trained[best[name]],
                    large_gallery=gallery,
                    architecture=best[name].to_dict()["blocks"],
                    search_seconds=seconds.get(name),
                )
        target = best["cmp-nas r3"]
        if "hand-made" not in done:
            net = self._hand_made(budget)
            self._query(net, lambda: agreeing_recipe(model), "hand-made")
            yield self._row("hand-made", net, large_gallery=gallery)
        yield from self._trained(
            done, target, self._recipes(model, large), gallery, "of the r3 architecture"
        )

    def pairs(self, share: float, done: set[str]) -> Iterator[Row]:
        """What `search` gives at its defaults for a share of the gallery model's FLOPs.

        The large model, then the found architecture trained in every way, the kept one first.
        """
        large, head = self._large()
        gallery = embed(large, self.gallery)
        if "large" not in done:
            yield self._row("large", large, large_gallery=gallery)
        model = self._gallery_model(head)
        cost = module_flops(large, channels=self.channels, side=self.side)
        self.space = small_space(
            side=self.side,
            channels=self.channels,
            dimension=self.plan.dimension,
            stem=round(self.plan.stem * (share / self.plan.share) ** 0.5),
        )
        found = search(
            self._search_plan(Budget(self.space, int(cost * share))),
            model,
            self.train,
            self._validation(large, model),
            folder=self.work / f"search-{round(1 / share)}",
            vectors=GalleryVectors(model.model_id, self.train.item_ids, embed(large, self.train)),
            augment=self.task.augment,
        )
        for each in found.trained:
            yield self._row(
                f"{share_name(share)} {each.way}",
                each.network,
                large_gallery=gallery,
                architecture=each.network.architecture.to_dict()["blocks"],
                held_out=asdict(each.measured),
                kept=each is found.trained[0],
            )

    def _gallery_model(self, head: Head) -> GalleryModel:
        return GalleryModel(
            ModelId("large", str(self.seed), self.plan.dimension),
            from_head(head.vectors.cpu(), rows=torch.arange(len(self.train.classes))),
            SCORE,
        )

    def _trained(
        self,
        done: set[str],
        architecture: Architecture,
        built: dict[str, Callable[[], Recipe]],
        gallery: NDArray[np.float32],
        note: str,
    ) -> Iterator[Row]:
        """One architecture, trained in every other way."""
        for name, build in built.items():
            if name not in done:
                network = self._query(Network(self.space, architecture), build, name)
                yield self._row(name, network, large_gallery=gallery, note=note)

    def _recipes(self, model: GalleryModel, large: nn.Module) -> dict[str, Callable[[], Recipe]]:
        classes, width = len(self.train.classes), self.plan.dimension

        def head() -> Head:
            return Head.random(classes, width, SCORE)

        def ssp() -> Recipe:
            vectors = embed(large, self.train, device=self.plan.large.device)
            return asymmetric.ssp(
                product_centroids(vectors, parts=8, centroids=64, seed=self.seed), head()
            )

        distillations: dict[str, Callable[[], Recipe]] = {
            "l2": recipes.l2,
            "aml": lambda: asymmetric.aml(head()),
            "csd": lambda: asymmetric.csd(head()),
            "raml": lambda: asymmetric.raml(head()),
            "d3still": lambda: asymmetric.d3still(head()),
            "ssp": ssp,
        }
        return {
            "independent": lambda: recipes.independent(head()),
            **{name: distillations[name] for name in self.plan.distillations},
        }

    def _validation(self, large: nn.Module, model: GalleryModel) -> Validation:
        queries, gallery = self.validation_items
        vectors = embed(large, gallery, device=self.plan.large.device)
        return Validation(
            queries,
            gallery,
            GalleryVectors(model.model_id, gallery.item_ids, vectors),
            model.model_id,
        )

    def _searches(
        self, model: GalleryModel, budget: Budget, validation: Validation
    ) -> tuple[dict[str, tuple[Architecture, ...]], dict[str, float]]:
        """The finalists of each search; all of them share one super-network."""
        plan = self._search_plan(budget)
        started = time.monotonic()
        network = train_super_network(
            plan, model, self.train, folder=self.work / "super_network", augment=self.task.augment
        )
        once = time.monotonic() - started
        measure = candidate_measure(
            plan, network, self.train, validation, device=plan.super_training.device
        )
        found, seconds = {}, {}
        for name in (*REWARDS, "random"):
            started = time.monotonic()
            settings = plan.evolution
            history = evolve(
                plan.budget(),
                settings.random_search() if name == "random" else settings,
                measure,
                reward_name="r3" if name == "random" else name,  # type: ignore[arg-type]
                path=self.work / f"history-{name}.json",
                identity={"seed": self.seed, "plan": self.plan.name},
            )
            title = "random search" if name == "random" else f"cmp-nas {name}"
            best = history.best(self.plan.finalists)
            found[title] = tuple(candidate.architecture for candidate in best)
            seconds[title] = round(once + time.monotonic() - started, 1)
        return found, seconds

    def history(self) -> History:
        """The candidates of the r3 search, for the picture."""
        return History.read(self.work / "history-r3.json")

    def _search_plan(self, budget: Budget) -> SearchPlan:
        settings = self.plan
        return SearchPlan(
            self.space,
            budget.flops_at_most,
            evolution=replace(settings.evolution, seed=self.seed),
            super_training=replace(settings.super_training, seed=self.seed),
            warm_up_epochs=settings.warm_up_epochs,
            retraining=replace(settings.query, seed=self.seed),
            calibration_batches=settings.calibration_batches,
        )

    def _large(self) -> tuple[nn.Module, Head]:
        """The gallery model; trained once, then read from its checkpoint."""
        settings = replace(self.plan.large, seed=self.seed + 100)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            head = Head.random(len(self.train.classes), self.plan.dimension, SCORE)
            network = ResidualCnn(self.channels, self.plan.dimension, width=self.plan.large_width)
        self._fit(network, recipes.independent(head), settings, "large")
        return network, head

    def _query(self, network: nn.Module, build: Callable[[], Recipe], name: str) -> nn.Module:
        settings = replace(self.plan.query, seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.reset_parameters()
            recipe = build()
        self._fit(network, recipe, settings, f"query-{name}")
        return network

    def _fit(
        self, network: nn.Module, recipe: Recipe, settings: TrainingSettings, folder: str
    ) -> None:
        old = None
        if "old" in recipe.needs:
            large, _ = self._large()
            vectors = embed(large, self.train, device=settings.device)
            old = OldVectors(self.train.item_ids, vectors)
        fit(
            network,
            recipe,
            self.train,
            settings,
            folder=self.work / folder.replace(" ", "-"),
            old_vectors=old,
            augment=self.task.augment,
        )

    def _hand_made(self, budget: Budget) -> nn.Module:
        """The widest that keeps the budget."""
        width = 2
        while True:
            larger = HandMade(self.channels, self.plan.dimension, width=width + 1)
            cost = module_flops(larger, channels=self.channels, side=self.side)
            if cost > budget.flops_at_most:
                return HandMade(self.channels, self.plan.dimension, width=width)
            width += 1

    def _row(
        self, name: str, network: nn.Module, *, large_gallery: NDArray[np.float32], **facts: object
    ) -> Row:
        """Everything measured of one query model."""
        device = self.plan.large.device
        queries = embed(network, self.queries, device=device)
        own = embed(network, self.gallery, device=device)
        network.cpu()
        path = self.work / f"{name.replace(' ', '-').replace('/', '-')}.onnx"
        done = export(network, path, channels=self.channels, side=self.side)
        cost = module_flops(network, channels=self.channels, side=self.side)
        row: Row = {
            "system": name,
            "seed": self.seed,
            "query/query": self._quality(queries, own),
            "query/large": self._quality(queries, large_gallery),
            "flops": cost,
            "onnx_bytes": done.bytes,
            "latency_ms": _latency_ms(path, self.channels, self.side),
            **{key: value for key, value in facts.items() if value is not None},
        }
        network.to(device)
        return row

    def _quality(
        self, queries: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> dict[str, float]:
        ranks = rank_scores(queries @ gallery.T, self.relevance)
        return {
            "map": round(float(average_precision(ranks).mean()), 4),
            "hit_rate@1": round(float(hit_rate(ranks, 1).mean()), 4),
        }


def _items(some: Pictures) -> ArrayItems:
    classes = [str(number) for number in range(int(some.labels.max()) + 1)]
    return ArrayItems(some.images, some.labels, some.item_ids, classes)


def _held_out(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """(n,) bool: `count` items of every class, for the reward."""
    held = np.zeros(len(labels), dtype=bool)
    rng = np.random.default_rng([seed, 40])
    for label in np.unique(labels):
        held[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return held


def _held_out_classes(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """(n,) bool: every item of `count` classes, for the reward."""
    classes = np.random.default_rng([seed, 41]).permutation(np.unique(labels))
    return np.isin(labels, classes[:count])


def _latency_ms(path: Path, channels: int, side: int) -> dict[str, float]:
    """Of one picture, one thread: median and 90th percentile, after warming up."""
    opened = session(path, threads=1)
    image = {"images": np.zeros((1, channels, side, side), np.float32)}
    times = []
    for _ in range(LATENCY_RUNS):
        started = time.perf_counter()
        opened.run(None, image)
        times.append(1000 * (time.perf_counter() - started))
    kept = np.array(times[LATENCY_RUNS // 10 :])
    return {"p50": round(float(np.median(kept)), 4), "p90": round(float(np.quantile(kept, 0.9)), 4)}
