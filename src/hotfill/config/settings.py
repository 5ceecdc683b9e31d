"""What a configuration file may say, section by section. The examples are in `hotfill.config`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hotfill.stores.section import StoreSection
from hotfill.upgrade.journal.section import JournalSection
from hotfill.upgrade.plan import OrderName, Strategy, TransformName


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FactorySection(_Section):
    """Something made by the user's own code."""

    factory: str
    options: dict[str, Any] = Field(default_factory=dict)


class ModelSection(_Section):
    """A model: its embedder, or at least its id.

    encoder: a file of `hotfill binarize fit`: the model's vectors are codes of the embedder's.
        A new model without an embedder is the old one, and its codes are made of stored vectors.
    query_embedder: another, smaller model for the queries, whose vectors compare with this one's.
    """

    embedder: str | None = None
    encoder: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    query_embedder: str | None = None
    query_options: dict[str, Any] = Field(default_factory=dict)
    model: dict[str, Any] | None = None


class UpgradeSection(_Section):
    """What `Plan` decides; the same names and defaults."""

    strategy: Strategy = "merge"
    transform: TransformName = "kernel_bridge"
    own_queries: bool = False
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
    cutover: Literal["manual", "auto"] = "manual"
    duty_cycle: float = 1.0
    verify_items: int = 200
    verification_lasts_seconds: float = 3600.0


class GuardSection(_Section):
    """Canaries measured while the upgrade runs; see `Plan`.

    queries: a file of JSON lines. items: used as queries where there is no such file.
    """

    queries: str = ""
    items: int = 64
    k: int = 10
    every_seconds: float = 600.0


class Settings(_Section):
    """The whole file. codes: the folder of the codes, where a model has an encoder.

    supersedes: the configuration file of an unfinished upgrade that this one takes over.
    """

    folder: str | None = None
    supersedes: str | None = None
    codes: str = "codes"
    store: StoreSection
    journal: JournalSection = JournalSection()
    source: FactorySection
    old: ModelSection
    new: ModelSection
    upgrade: UpgradeSection = UpgradeSection()
    limits: dict[str, float] = Field(default_factory=dict)
    guard: GuardSection | None = None
    gate: dict[str, float] = Field(default_factory=dict)
    hooks: dict[str, str] = Field(default_factory=dict)
    service: dict[str, Any] = Field(default_factory=dict)  # read by whoever serves
