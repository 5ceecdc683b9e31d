"""What a configuration file may say, section by section. The examples are in `hotfill.config`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hotfill.stores.section import StoreSection
from hotfill.upgrade.journal.section import JournalSection
from hotfill.upgrade.plan import Decisions, Gate, GuardDecisions, Limits

if TYPE_CHECKING:
    from pathlib import Path

_USUAL_CANARIES = 64  # items used as queries where [guard] or [gate] stand and name none
_PATHS = ("query_log", "up", "pairs", "canary_queries")


class _FileSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FactorySection(_FileSection):
    """A source made by the user's own code."""

    kind: Literal["factory"] = "factory"
    factory: str
    options: dict[str, Any] = Field(default_factory=dict)


class StoredSection(_FileSection):
    """The store itself as the source.

    field: that holds the contents; left out, as the framework that made the store keeps them.
    """

    kind: Literal["store"]
    field: str | None = None


def _with_kind(values: Any) -> Any:
    """Take the user's own code where no kind is named."""
    return {"kind": "factory", **values} if isinstance(values, dict) else values


SourceSection: TypeAlias = Annotated[
    FactorySection | StoredSection, Field(discriminator="kind"), BeforeValidator(_with_kind)
]
"""Where contents come from; `kind` says which."""


class ModelSection(_FileSection):
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


class Settings(_FileSection):
    """The whole file. codes: the folder of the codes, where a model has an encoder.

    supersedes: the configuration file of an unfinished upgrade that this one takes over.
    source: may be missing where nothing is embedded (`backfill = "none"`).
    """

    folder: str | None = None
    supersedes: str | None = None
    codes: str = "codes"
    store: StoreSection
    journal: JournalSection = JournalSection()
    source: SourceSection | None = None
    old: ModelSection
    new: ModelSection
    upgrade: Decisions = Decisions()
    guard: GuardDecisions | None = None
    gate: Gate = Field(default_factory=dict)
    limits: Limits = Field(default_factory=dict)
    hooks: dict[str, str] = Field(default_factory=dict)
    service: dict[str, Any] = Field(default_factory=dict)  # read by whoever serves

    def decided(self, folder: Path) -> dict[str, Any]:
        """Return what the file decides of a `Plan`, by its names; models are not among it.

        folder: of the file. Paths are made absolute, so that they mean the same from every folder.
        """
        guard = self.guard or GuardDecisions()
        decided = {
            **asdict(self.upgrade),
            **asdict(guard),
            "gate": self.gate,
            "limits": self.limits,
        }
        guarded = self.guard is not None or bool(self.gate)
        if guarded and not (guard.canary_queries or guard.canary_items):
            decided["canary_items"] = _USUAL_CANARIES
        for name in _PATHS:
            if decided[name]:
                decided[name] = str((folder / decided[name]).resolve())
        return decided
