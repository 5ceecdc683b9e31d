"""What an upgrade will do: frozen, written as TOML, read by people before anything is touched."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from hotfill.errors import ConfigError, InputError, PlanError
from hotfill.formatting import duration, percent, size
from hotfill.text_files import read_text
from hotfill.types import ModelId
from hotfill.upgrade.phases import Hold
from hotfill.validation import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path


# What a plan requires of the quality, and whether it is met. Pure: no clock, no I/O --------------

GatedMetric: TypeAlias = Literal["agreement", "old_overlap", "first_kept", "flips"]
"""Figures of `Quality` that a gate may be set on."""


def _gated(name: str) -> str:
    if name not in get_args(GatedMetric):
        raise ValueError(f"a gate may be set on {', '.join(get_args(GatedMetric))}")
    return name


Gate: TypeAlias = Mapping[
    Annotated[str, AfterValidator(_gated)], Annotated[float, Strict(), Field(ge=0, le=1)]
]
"""Required value by metric, from 0 to 1."""

AT_MOST = frozenset({"flips"})
"""Of these less is better; of all others more."""


def is_met(name: str, measured: float, required: float) -> bool:
    """Tell whether a measured value is as good as required."""
    return measured <= required if name in AT_MOST else measured >= required


def violations(
    measured: Mapping[str, Any], gate: Mapping[str, float], accepted: Collection[str], now: float
) -> tuple[Hold, ...]:
    """Compare a measurement with the gate: one hold for each value that is not met.

    measured: the fields of `Quality`; a value that is None could not be measured and does not hold.
    accepted: metrics that somebody waived.
    """
    return tuple(
        Hold("gate", name, now, measured=measured[name], required=required)
        for name, required in sorted(gate.items())
        if measured[name] is not None
        and name not in accepted
        and not is_met(name, measured[name], required)
    )


def judged_again(holds: Iterable[Hold], gate: Mapping[str, float]) -> tuple[Hold, ...]:
    """Return which holds of the gate stay when it is set otherwise, by what was measured then."""
    return tuple(
        Hold("gate", hold.about, hold.since, measured=hold.measured, required=gate[hold.about])
        for hold in holds
        if hold.kind == "gate"
        and hold.about in gate
        and hold.measured is not None
        and not is_met(hold.about, hold.measured, gate[hold.about])
    )


# The decisions, one by one ------------------------------------------------------------------------

Strategy: TypeAlias = Literal["merge", "prefill", "compatible"]
OrderName: TypeAlias = Literal[
    "random", "priority", "uncertainty", "popularity", "popularity_uncertainty"
]
TransformName: TypeAlias = Literal["kernel_bridge", "bridge"]
Queries: TypeAlias = Literal["new", "both"]
Ranking: TypeAlias = Literal["auto", "raw", "calibrated"]
FinishName: TypeAlias = Literal["plain", "agreement"]
Cutover: TypeAlias = Literal["manual", "auto"]
BackfillName: TypeAlias = Literal["all", "none", "budget"]

Limits: TypeAlias = Mapping[str, Annotated[float, Strict(), Field(allow_inf_nan=False)]]
"""Highest value allowed by the name of a probe."""

_Count: TypeAlias = Annotated[int, Strict(), Field(ge=0)]
_Many: TypeAlias = Annotated[int, Strict(), Field(ge=1)]


_BATCH = 256

LEAST_BATCH = 16
"""Items of the smallest batch where the size is found; work is cut into these."""


def _batch_items(value: Any, handler: Callable[[Any], Any]) -> Any:
    # Not by a union of both, which would say of a wrong number that it is not "auto" either.
    if isinstance(value, str):
        if value != "auto":
            raise ValueError('expected a whole number >= 1 or "auto"')
        return value
    return _MANY.validate_python(value)


BatchItems: TypeAlias = Annotated[int | Literal["auto"], WrapValidator(_batch_items)]
"""Items of a batch, >= 1, or "auto": as many as pay (see `hotfill.upgrade.pace.BatchSize`)."""

_Seconds: TypeAlias = Annotated[float, Strict(), Field(ge=0)]
_Budget: TypeAlias = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
_STRICT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

BUDGETS = ("budget_items", "budget_share", "budget_seconds", "budget_cost")
"""Keys of which `backfill = "budget"` needs one."""

BINDING = (
    "older_models",
    "old_model",
    "new_model",
    "strategy",
    "transform",
    "ranking",
    "finish",
    "up",
    "pairs",
    "backfill",
    "budget_items",
    "budget_share",
    "budget_seconds",
    "budget_cost",
    "queries",
    "old_query_weight",
    "order",
    "seed",
    "priority_key",
    "query_log",
    "fit_items",
    "canary_queries",
    "canary_items",
    "canary_k",
)
"""What a begun upgrade cannot change; pace, limits and sizes may differ from run to run."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Decisions:
    """How to upgrade: the keys of [upgrade] in a configuration file.

    strategy: `prefill` first imputes a vector of the new space for every old one, so that one index
        is searched by the plain query; `merge` writes nothing at start, leaves old vectors alone
        and merges two sides; `compatible` searches old vectors with new queries directly.
    transform: how new queries meet old vectors. `kernel_bridge` scores the best old hits by
        kernel regression: the better ranking, some milliseconds a query more; `bridge` is linear.
        For `prefill` it names the map as well: the kernel regression, or ridge.
    queries: which models embed a query while old items are left: `new`, or `both`. Use `both` where
        queries are of another kind than the items; `start` says where it is needed.
    old_query_weight: with `both`, the share of an old item's score, in (0, 1), that the query
        embedded by the old model decides. By default a third with `merge`; with `prefill` it is
        found by rho (`hotfill.ranking.old_query_weight`), and falls for items that have moved.
    ranking: for `prefill`, how the hits of one index become a list. `raw` takes them as the plain
        search gives them; `calibrated` searches some times more and puts imputed vectors and the
        new model's own on one scale, by the query's background; `auto` takes the one that found
        more of the new model's own ten on the pairs fitted on, `raw` where they are close.
    finish: for `prefill`, where the upgrade ends. `plain` is exactly the new model. `agreement` is
        a space in which what both models agree on counts more (`hotfill.ranking.Finish`), with a
        `ModelId` of its own; it serves after `complete`, and new items are written through it.
        Often better in mean average precision, sometimes worse at the first hit: rehearse.
    up: a file with a trained map from the old space to the new one, for `prefill`; by default one
        is fitted.
    pairs: a file with vectors of some contents by both models, to fit on where the contents of the
        items are not at hand: .npz with float arrays `old` (n, d_old) and `new` (n, d_new), row i
        of both the same content, n >= 100. By default items are drawn and embedded.
    backfill: which items the new model embeds. `all`; `none`, and the gallery is for good what the
        map (or, with `compatible`, the old model) makes of it; `budget`, and the first items of the
        order are embedded until the budget ends. The last two need `prefill` or `compatible`; then
        an item whose content nobody has stays imputed.
    budget_items, budget_share, budget_seconds, budget_cost: the budget, one of the four: items; a
        share of all, in (0, 1]; seconds of embedding; money, where the embedder has a price. Of the
        last two `plan` makes a number of items, by the sample that it embeds; what is fitted and
        verified on is paid from them, too.
    order: which items first; `random` uses `seed`, `priority` the metadata key `priority_key`
        (high first), `uncertainty` what the transform is least sure of,
        `popularity` how often an item stands in `query_log`, a file with one returned item id per
        line, `popularity_uncertainty` the product of both.
    batch_size: items embedded and moved at a time; memory is bounded by a few batches. Imputing,
        for which no model runs, takes four times as many. With `"auto"` each kind of work finds its
        own, from 16 (imputing: 64) to 4096: it doubles while items a second rise, and is halved
        while a limit throttles.
    fit_items: items embedded in advance to fit what maps queries and vectors between the models.
    optimise: whether the store tidies up now and then while a long backfill runs.
    refit: for `merge`, whether to fit again from moved items while the backfill goes on; the better
        fit counts.
    refresh: for `prefill`, whether imputed vectors that wait are made anew whenever another tenth
        has moved, corrected by what the moved items showed. Turn it off where a rewrite is dear.
    refresh_share: how long that may take, as a share of the embedding still ahead; judged by what
        imputing took before. A refresh that would take longer is left out, and status says so.
    allow_below_old: whether to begin where rho says that searches may begin below the old model
        (see `queries`), or where a compatible model whose old vectors stay finds them worse than
        the old model does, or nobody can tell; without it `start` refuses.
    max_attempts: tries per item before it becomes a dead letter.
    embed_timeout_seconds: how long the embedder or the source may take for one batch; then the run
        stops, and its batches are free.
    max_dead_letters: more of them stop the run, because then not the items are at fault.
    cutover: `manual` waits for the command, `auto` verifies and switches by itself.
    duty_cycle: share of the time spent working, in (0, 1].
    verify_items: items embedded again by `verify`.
    verification_lasts_seconds: age at which a verification is stale.
    """

    strategy: Strategy = "prefill"
    transform: TransformName = "kernel_bridge"
    queries: Queries = "new"
    old_query_weight: Annotated[float, Strict(), Field(gt=0, lt=1)] | None = None
    ranking: Ranking = "auto"
    finish: FinishName = "plain"
    up: str = ""
    pairs: str = ""
    backfill: BackfillName = "all"
    budget_items: _Count | None = None
    budget_share: Annotated[float, Strict(), Field(ge=0, le=1)] | None = None
    budget_seconds: _Budget | None = None
    budget_cost: _Budget | None = None
    order: OrderName = "random"
    seed: Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)] = 0
    priority_key: str = ""
    query_log: str = ""
    batch_size: BatchItems = _BATCH
    fit_items: _Count = 2000
    refit: Annotated[bool, Strict()] = False
    refresh: Annotated[bool, Strict()] = True
    refresh_share: Annotated[float, Strict(), Field(gt=0, le=1000)] = 0.25
    optimise: Annotated[bool, Strict()] = True
    allow_below_old: Annotated[bool, Strict()] = False
    max_attempts: _Many = 3
    embed_timeout_seconds: Annotated[float, Strict(), Field(ge=1)] = 600.0
    max_dead_letters: _Count = 100
    cutover: Cutover = "manual"
    duty_cycle: Annotated[float, Strict(), Field(gt=0, le=1)] = 1.0
    verify_items: _Count = 200
    verification_lasts_seconds: _Seconds = 3600.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GuardDecisions:
    """What is watched while the upgrade runs: the keys of [guard] in a configuration file.

    canary_queries: a file of queries that are measured while the upgrade runs (see `guard`).
    canary_items: without such a file, how many items are used as queries; 0 measures nothing.
    canary_k: the first hits that count. guard_seconds: between two measurements, at most.
    """

    canary_queries: str = ""
    canary_items: _Count = 0
    canary_k: _Many = 10
    guard_seconds: _Seconds = 600.0


def _model(value: Any) -> Any:
    return ModelId.from_dict(value) if isinstance(value, Mapping) else value


Model: TypeAlias = Annotated[ModelId, BeforeValidator(_model)]


@dataclass(frozen=True, config=_STRICT)
class Plan(Decisions, GuardDecisions):
    """One upgrade, decided; with what `Decisions` and `GuardDecisions` say.

    old_model, new_model: from what to what.
    older_models: in a chain, models before the old one in whose spaces items are still searched,
        because the upgrade from them was superseded; oldest first.
    finished_model: with a finish that is in force, the model whose vectors it takes; new_model is
        then the space that they end in.
    old_query_model, new_query_model: what embeds the queries of each, where that is another model
        with comparable vectors; nothing it makes is stored.
    limits: probe name to highest value allowed, units in the names.
    gate: metric name to required value; while one is not met the upgrade is held.

    What was found when the plan was made (zero or empty in a plan not yet measured):
    items: on the old side. items_to_embed: of these, with `backfill = "budget"`; None where that
        is not known. bytes_to_write: of new vectors. seconds_expected: from embedding
        `sampled_items` items past any cache, with what is fitted, measured and verified.
    cached_share: of the sampled contents, whose vectors a cache holds; as many are left out.
    price_expected: where the embedder has a price, in its currency.
    blockers: why it cannot start, one line each.
    notes: what an operator should know of the store and of the way, one line each.
    """

    old_model: Model
    new_model: Model
    old_query_model: Model | None = field(default=None, kw_only=True)
    new_query_model: Model | None = field(default=None, kw_only=True)
    older_models: tuple[Model, ...] = field(default=(), kw_only=True)
    finished_model: Model | None = field(default=None, kw_only=True)
    limits: Limits = field(default_factory=dict, kw_only=True)
    gate: Gate = field(default_factory=dict, kw_only=True)

    items: int = field(default=0, kw_only=True)
    items_to_embed: int | None = field(default=None, kw_only=True)
    bytes_to_write: int = field(default=0, kw_only=True)
    seconds_expected: float = field(default=0.0, kw_only=True)
    sampled_items: int = field(default=0, kw_only=True)
    cached_share: float = field(default=0.0, kw_only=True)
    price_expected: float | None = field(default=None, kw_only=True)
    blockers: tuple[str, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_words(cls, values: Any, handler: Callable[[Any], Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise ConfigError(f"the plan: {explained(error, Plan)}") from error

    def __str__(self) -> str:
        """Say what it will do, a line each; blockers come last."""
        order = self.order + (f" by {self.priority_key}" if self.order == "priority" else "")
        batches = (
            'batch size "auto"' if self.batch_size == "auto" else f"batches of {self.batch_size:,}"
        )
        lines = [
            f"from      {self.old_model}",
            f"to        {self.new_model}",
            f"strategy  {self.strategy}, order {order}, {batches}, cutover {self.cutover}",
            f"items     {self.items:,}, {self.old_model.dimension} to {self.new_model.dimension} "
            f"dimensions, {size(self.bytes_to_write)} to write",
        ]
        if self.sampled_items:
            lines.append(
                f"time      about {duration(self.seconds_expected)} of embedding, by "
                f"{self.sampled_items} items embedded now; fitting, writing and indexing come on "
                "top"
            )
        if self.items_to_embed is not None:
            lines.append(f"budget    {self.items_to_embed:,} items are embedded")
        if self.cached_share:
            lines.append(f"cached    {percent(self.cached_share)} of the sampled contents already")
        if self.price_expected is not None:
            lines.append(f"price     about {self.price_expected:.2f}, in the currency of the price")
        lines += [f"note      {each}" for each in self.notes]
        return "\n".join([*lines, *(f"blocker   {each}" for each in self.blockers)])

    def __post_init__(self) -> None:
        self._check_guard()
        self._check_order()
        self._check_models()
        self._check_strategy()
        self._check_backfill()

    def _check_guard(self) -> None:
        if self.gate and not self.guarded:
            raise ConfigError("a gate needs canaries to measure: canary_items or canary_queries")
        if "flips" in self.gate and not self.canary_queries:
            raise ConfigError("a gate on flips needs canary_queries with judgements")

    def _check_order(self) -> None:
        if self.order == "priority" and not self.priority_key:
            raise ConfigError('order = "priority" needs priority_key, the metadata key to order by')
        if "popularity" in self.order and not self.query_log:
            raise ConfigError(f'order = "{self.order}" needs query_log, the file to count in')
        if self.strategy == "compatible" and "uncertainty" in self.order:
            raise ConfigError(
                f'order = "{self.order}" needs a map with an uncertainty; compatible models have '
                'none: use "random" or "priority"'
            )

    def _check_models(self) -> None:
        for gallery, queries in (
            (self.old_model, self.old_query_model),
            (self.new_model, self.new_query_model),
        ):
            if queries is not None and queries.dimension != gallery.dimension:
                raise ConfigError(
                    f"queries for {gallery} need {gallery.dimension} dimensions; they are "
                    f"embedded by {queries}"
                )
        if self.strategy == "compatible" and self.old_model.dimension != self.new_model.dimension:
            raise ConfigError(
                'strategy = "compatible" needs models of one dimension, got '
                f"{self.old_model.dimension} and {self.new_model.dimension}; "
                'use "merge" or "prefill"'
            )

    def _check_strategy(self) -> None:
        if self.older_models:
            self._check_chain()
        self._check_finish()
        if self.queries == "both":
            self._check_both()
        if self.refit and self.strategy == "prefill":
            raise ConfigError(
                'refit = true belongs to strategy = "merge": with "prefill" the vectors of one fit '
                "stay in the index until they are re-embedded"
            )
        if self.ranking == "calibrated" and (self.strategy != "prefill" or self.up):
            raise ConfigError(
                'ranking = "calibrated" belongs to strategy = "prefill" with the map that it fits; '
                f'this is "{self.strategy}"' + (f' with up = "{self.up}"' if self.up else "")
            )
        if self.up and self.strategy != "prefill":
            raise ConfigError(
                f'up = "{self.up}" carries old vectors to the new space, which only '
                f'strategy = "prefill" does; this one is "{self.strategy}"'
            )

    def _check_finish(self) -> None:
        if self.finish == "agreement" and (
            self.strategy != "prefill" or self.up or self.older_models or self.queries == "both"
        ):
            raise ConfigError(
                'finish = "agreement" belongs to strategy = "prefill" with the map that it fits, '
                'one old model and queries = "new": write finish = "plain"'
            )

    def _check_both(self) -> None:
        if self.older_models or self.strategy == "compatible":
            raise ConfigError(
                'queries = "both" belongs to strategy = "prefill" or "merge" with one old side; '
                + ("a chain has several" if self.older_models else 'this is "compatible"')
            )
        if self.strategy == "prefill" and (self.up or self.ranking == "raw"):
            raise ConfigError(
                'queries = "both" puts scores of both models on one scale, which needs the map '
                'that prefill fits and ranking = "calibrated" or "auto"; got '
                + (f'up = "{self.up}"' if self.up else 'ranking = "raw"')
            )

    def _check_backfill(self) -> None:
        given = {name: value for name in BUDGETS if (value := getattr(self, name)) is not None}
        if self.backfill != "budget" and given:
            raise ConfigError(f'{next(iter(given))} belongs to backfill = "budget"')
        if self.backfill == "budget" and len(given) != 1:
            named = " and ".join(given) or "none"
            raise ConfigError(f'backfill = "budget" needs one of {", ".join(BUDGETS)}, got {named}')
        for name, value in given.items():
            if not value:
                raise ConfigError(
                    f'{name} = 0 embeds nothing: write backfill = "none", or a budget above 0'
                )
        if self.pairs and (self.up or self.older_models or self.strategy == "compatible"):
            raise ConfigError(
                f'pairs = "{self.pairs}" is what one map is fitted on: leave it out with `up`, in '
                'a chain, and with strategy = "compatible"'
            )
        if self.backfill == "all":
            return
        if self.strategy == "merge" or self.older_models or self.queries == "both":
            why = (
                "this upgrade supersedes an unfinished one: finish or abort that one first, or "
                'write backfill = "all"'
                if self.older_models
                else 'queries = "both" reads old vectors, which `complete` removes: write '
                'queries = "new", or backfill = "all"'
                if self.queries == "both"
                else 'strategy = "merge" imputes none: write strategy = "prefill", or "compatible" '
                "for a model that was trained to be"
            )
            raise ConfigError(
                f'backfill = "{self.backfill}" leaves items by vectors imputed from one old model, '
                f"and {why}"
            )

    def _check_chain(self) -> None:
        if self.strategy == "compatible" or self.up:
            knowing = f'up = "{self.up}"' if self.up else 'strategy = "compatible"'
            raise ConfigError(
                f"{knowing} knows one old side; an upgrade that supersedes another has several: "
                'write strategy = "prefill" or "merge", without `up`'
            )
        if "uncertainty" in self.order or self.refit:
            raise ConfigError(
                "an upgrade that supersedes another has several maps: orders by uncertainty and "
                "refit are not possible"
            )
        if len({*self.old_models, self.new_model}) <= len(self.old_models):
            raise ConfigError("an upgrade that supersedes another leads to a model of its own")

    @property
    def old_models(self) -> tuple[ModelId, ...]:
        """All models to leave, oldest first: one, or more in a chain."""
        return (*self.older_models, self.old_model)

    @property
    def embedded_model(self) -> ModelId:
        """The model that embeds items: the new one, or the one whose vectors are finished."""
        return self.finished_model or self.new_model

    @property
    def work_cut(self) -> int:
        """Items of the batches that work is cut into; with "auto" several are taken as one."""
        return LEAST_BATCH if self.batch_size == "auto" else self.batch_size

    @property
    def at_once(self) -> int:
        """Items taken at a time where no batch of the journal says how many: 256 with "auto"."""
        return _BATCH if self.batch_size == "auto" else self.batch_size

    @property
    def imputes(self) -> bool:
        """Whether old vectors are carried into the new space before anything is embedded."""
        return self.strategy == "prefill" or self.backfill != "all"

    @property
    def is_measured(self) -> bool:
        """Whether the budget is of time or money, so that a sample tells what it pays for."""
        return self.budget_seconds is not None or self.budget_cost is not None

    @property
    def guarded(self) -> bool:
        """Whether canaries are measured."""
        return bool(self.canary_items or self.canary_queries)

    def check(self) -> None:
        """Raise PlanError when there are blockers."""
        if self.blockers:
            raise PlanError(self.blockers)

    def decisions(self) -> dict[str, Any]:
        """Return what was decided, without what was found."""
        found = {
            "items",
            "items_to_embed",
            "bytes_to_write",
            "seconds_expected",
            "sampled_items",
            "cached_share",
            "price_expected",
            "blockers",
            "notes",
            "finished_model",
        }
        return {name: value for name, value in self.to_dict().items() if name not in found}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and TOML."""
        values: dict[str, Any] = _ADAPTER.dump_python(self, mode="json", exclude_none=True)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Build from plain values. Raises ConfigError on an unknown or missing key."""
        return _ADAPTER.validate_python(values)

    def write(self, path: Path) -> None:
        """Write as TOML."""
        import tomli_w  # only writing needs it

        path.write_text(tomli_w.dumps(self.to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read from TOML. Raises ConfigError on damaged text or keys."""
        try:
            return cls.from_dict(tomllib.loads(read_text(path)))
        except InputError as error:
            raise ConfigError(str(error)) from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error


_ADAPTER = TypeAdapter(Plan)
_MANY = TypeAdapter(_Many)


def with_finish(plan: Plan, space: ModelId) -> Plan:
    """Return the plan as it is in force once its finish was fitted. space: where it ends."""
    return replace(plan, new_model=space, finished_model=plan.embedded_model)
