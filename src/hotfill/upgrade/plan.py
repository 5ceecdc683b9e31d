"""What an upgrade will do: frozen, written as TOML, read by people before anything is touched."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from hotfill.errors import ConfigError, PlanError
from hotfill.types import ModelId
from hotfill.upgrade.phases import Hold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path


# What a plan requires of the quality, and whether it is met. Pure: no clock, no I/O --------------

GatedMetric: TypeAlias = Literal["agreement", "old_overlap", "first_kept", "flips"]
"""Figures of `Quality` that a gate may be set on."""

AT_MOST = frozenset({"flips"})
"""Of these less is better; of all others more."""


def check_gate(gate: Mapping[str, float]) -> None:
    """Raise ConfigError unless every metric is known and every required value from 0 to 1."""
    for name, required in gate.items():
        if name not in get_args(GatedMetric):
            raise ConfigError(
                f"[gate] {name}: unknown; a gate may be set on {', '.join(get_args(GatedMetric))}"
            )
        if isinstance(required, bool) or not isinstance(required, int | float):
            raise ConfigError(f"[gate] {name} must be a number, got {required!r}")
        if not 0 <= required <= 1:
            raise ConfigError(f"[gate] {name} must be from 0 to 1, got {required}")


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


Strategy: TypeAlias = Literal["merge", "prefill", "compatible"]
OrderName: TypeAlias = Literal[
    "random", "priority", "uncertainty", "popularity", "popularity_uncertainty"
]
TransformName: TypeAlias = Literal["kernel_bridge", "bridge"]
Cutover: TypeAlias = Literal["manual", "auto"]

_LEAST = {
    "batch_size": 1,
    "fit_items": 0,
    "max_attempts": 1,
    "max_dead_letters": 0,
    "verify_items": 0,
    "canary_items": 0,
    "canary_k": 1,
    "verification_lasts_seconds": 0,
    "guard_seconds": 0,
    "embed_timeout_seconds": 1,
}

_SECONDS = frozenset({"verification_lasts_seconds", "guard_seconds", "embed_timeout_seconds"})

BINDING = (
    "older_models",
    "old_model",
    "new_model",
    "strategy",
    "transform",
    "up",
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


@dataclass(frozen=True, slots=True)
class Plan:
    """One upgrade, decided.

    old_model, new_model: from what to what.
    older_models: in a chain, models before the old one in whose spaces items are still searched,
        because the upgrade from them was superseded; oldest first.
    old_query_model, new_query_model: what embeds the queries of each, where that is another model
        with comparable vectors; nothing it makes is stored.
    strategy: `merge` leaves old vectors alone and merges two sides; `prefill` first maps every old
        vector into the new space; `compatible` searches old vectors with new queries directly.
    transform: how new queries meet old vectors. `kernel_bridge` scores the best old hits by
        kernel regression: the better ranking, some milliseconds a query more; `bridge` is linear.
        For `prefill` it names the map as well: the kernel regression, or ridge.
    old_queries: for `merge`, whether the old model embeds each query too while old items are left,
        and has a third of their scores to itself. For queries of another kind than the items.
    up: a file with a trained map from the old space to the new one, for `prefill`; by default one
        is fitted.
    order: which items first; `random` uses `seed`, `priority` the metadata key `priority_key`
        (high first), `uncertainty` what the transform is least sure of, `popularity` how often an item
        stands in `query_log`, a file with one returned item id per line.
    batch_size: items embedded and moved at a time; memory is bounded by a few batches.
    fit_items: items embedded in advance to fit what maps queries and vectors between the models.
    optimise: whether the store tidies up now and then while a long backfill runs.
    refit: whether to fit again from moved items while the backfill goes on; the better fit counts.
    embed_timeout_seconds: how long the embedder or the source may take for one batch; then the run
        stops, and its batches are free.
    max_attempts: tries per item before it becomes a dead letter.
    max_dead_letters: more of them stop the run, because then not the items are at fault.
    cutover: `manual` waits for the command, `auto` verifies and switches by itself.
    duty_cycle: share of the time spent working, in (0, 1].
    limits: probe name to highest value allowed, units in the names.
    verify_items: items embedded again by `verify`.
    verification_lasts_seconds: age at which a verification is stale.
    canary_queries: a file of queries that are measured while the upgrade runs (see `guard`).
    canary_items: without such a file, how many items are used as queries; 0 measures nothing.
    canary_k: the first hits that count. guard_seconds: between two measurements, at most.
    gate: metric name to required value; while one is not met the upgrade is held.

    What was found when the plan was made (zero or empty in a plan not yet measured):
    items: on the old side. bytes_to_write: of new vectors. seconds_expected: from embedding
    `sampled_items` items. blockers: why it cannot start, one line each.
    """

    old_model: ModelId
    new_model: ModelId
    old_query_model: ModelId | None = None
    new_query_model: ModelId | None = None
    strategy: Strategy = "merge"
    transform: TransformName = "kernel_bridge"
    old_queries: bool = False
    up: str = ""
    order: OrderName = "random"
    seed: int = 0
    priority_key: str = ""
    query_log: str = ""
    batch_size: int = 256
    fit_items: int = 2000
    refit: bool = False
    optimise: bool = True
    embed_timeout_seconds: float = 600.0
    max_attempts: int = 3
    max_dead_letters: int = 100
    cutover: Cutover = "manual"
    duty_cycle: float = 1.0
    limits: Mapping[str, float] = field(default_factory=dict)
    verify_items: int = 200
    verification_lasts_seconds: float = 3600.0
    canary_queries: str = ""
    canary_items: int = 0
    canary_k: int = 10
    guard_seconds: float = 600.0
    gate: Mapping[str, float] = field(default_factory=dict)
    older_models: tuple[ModelId, ...] = ()

    items: int = 0
    bytes_to_write: int = 0
    seconds_expected: float = 0.0
    sampled_items: int = 0
    blockers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("strategy", self.strategy, Strategy)
        _one_of("transform", self.transform, TransformName)
        _one_of("order", self.order, OrderName)
        _one_of("cutover", self.cutover, Cutover)
        for name in ("duty_cycle", *_SECONDS):
            _number(name, getattr(self, name), int | float, "a number")
        for name in ("seed", *_LEAST):
            if name not in _SECONDS:
                _number(name, getattr(self, name), int, "a whole number")
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed must be in [-2**63, 2**63), got {self.seed}")
        for name, limit in self.limits.items():
            if not isinstance(limit, int | float) or limit != limit:
                raise ConfigError(f"the limit of {name!r} is not a number: {limit!r}")
        if self.older_models:
            self._check_chain()
        check_gate(self.gate)
        if self.gate and not self.guarded:
            raise ConfigError("a gate needs canaries to measure: canary_items or canary_queries")
        if "flips" in self.gate and not self.canary_queries:
            raise ConfigError("a gate on flips needs canary_queries with judgements")
        if not 0 < self.duty_cycle <= 1:
            raise ConfigError(f"duty_cycle must be in (0, 1], got {self.duty_cycle}")
        if self.order == "priority" and not self.priority_key:
            raise ConfigError('order = "priority" needs priority_key, the metadata key to order by')
        if "popularity" in self.order and not self.query_log:
            raise ConfigError(f'order = "{self.order}" needs query_log, the file to count in')
        for gallery, queries in (
            (self.old_model, self.old_query_model),
            (self.new_model, self.new_query_model),
        ):
            if queries is not None and queries.dimension != gallery.dimension:
                raise ConfigError(
                    f"queries for {gallery} need {gallery.dimension} dimensions; they are "
                    f"embedded by {queries}"
                )
        if self.old_queries and (self.strategy != "merge" or self.older_models):
            raise ConfigError(
                "old_queries belongs to searches of one old side with old vectors, which only "
                f'strategy = "merge" has, and a chain has several; this is "{self.strategy}"'
            )
        if self.up and self.strategy != "prefill":
            raise ConfigError(
                f'up = "{self.up}" carries old vectors to the new space, which only '
                f'strategy = "prefill" does; this one is "{self.strategy}"'
            )
        if self.strategy == "compatible" and "uncertainty" in self.order:
            raise ConfigError(
                f'order = "{self.order}" needs a map to doubt; compatible models have none: '
                'use "random" or "priority"'
            )
        if self.strategy == "compatible" and self.old_model.dimension != self.new_model.dimension:
            raise ConfigError(
                'strategy = "compatible" needs models of one dimension, got '
                f"{self.old_model.dimension} and {self.new_model.dimension}; "
                'use "merge" or "prefill"'
            )

    def _check_chain(self) -> None:
        if self.strategy != "merge":
            raise ConfigError(
                f'strategy = "{self.strategy}" knows one old side; an upgrade that supersedes '
                'another has several, and needs "merge"'
            )
        if "uncertainty" in self.order or self.refit:
            raise ConfigError(
                "an upgrade that supersedes another has several maps: order by doubt and refit "
                "are not possible"
            )
        if len({*self.old_models, self.new_model}) <= len(self.old_models):
            raise ConfigError("an upgrade that supersedes another leads to a model of its own")

    @property
    def old_models(self) -> tuple[ModelId, ...]:
        """All models to leave, oldest first: one, or more in a chain."""
        return (*self.older_models, self.old_model)

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
        found = {"items", "bytes_to_write", "seconds_expected", "sampled_items", "blockers"}
        return {name: value for name, value in self.to_dict().items() if name not in found}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        values["limits"] = dict(self.limits)
        values["gate"] = dict(self.gate)
        values["blockers"] = list(self.blockers)
        values["older_models"] = [model.to_dict() for model in self.older_models]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Build from plain values. Raises ConfigError on an unknown or missing key."""
        known = {each.name for each in fields(cls)}
        unknown = sorted(set(values) - known)
        missing = sorted({"old_model", "new_model"} - set(values))
        if unknown or missing:
            raise ConfigError(
                f"a plan: unknown keys {', '.join(unknown) or 'none'}, "
                f"missing keys {', '.join(missing) or 'none'}"
            )
        models = {name: value for name, value in values.items() if name.endswith("_model")}
        for name, value in models.items():
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} must be a table of a model id, got {value!r}")
        return cls(
            **{
                **values,
                **{name: ModelId.from_dict(value) for name, value in models.items()},
                "older_models": tuple(map(ModelId.from_dict, values.get("older_models", ()))),
                "blockers": tuple(values.get("blockers", ())),
            }
        )

    def write(self, path: Path) -> None:
        """Write as TOML."""
        import tomli_w  # only writing needs it

        path.write_text(tomli_w.dumps(self.to_dict()), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read from TOML. Raises ConfigError on damaged text or keys."""
        try:
            return cls.from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _number(name: str, value: Any, kind: Any, words: str) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"{name} must be {words}, got {value!r}")


def _one_of(name: str, value: str, names: Any) -> None:
    if value not in get_args(names):
        raise ConfigError(f"{name} must be one of {', '.join(get_args(names))}, got {value!r}")
