"""What an upgrade is made of. Each part is opened or made when it is first asked for.

A configuration file is one source of parts (`hotfill.config.Project`); objects that a program
already has are another (`GivenParts`, which `hotfill.Upgrade(...)` makes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hotfill.errors import ConfigError
from hotfill.types import Embedder, ModelId
from hotfill.upgrade.journal.section import set_aside
from hotfill.upgrade.journal.sqlite import SqliteJournal
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.plan import Plan, with_finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hotfill.stores.base import Gallery
    from hotfill.types import Source
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.status import Status

Which: TypeAlias = Literal["old", "new"]

WHICH: tuple[Literal["old"], Literal["new"]] = ("old", "new")

Moment: TypeAlias = Literal[
    "on_start",
    "on_prepared",
    "on_backfilled",
    "before_cutover",
    "after_cutover",
    "on_completed",
    "on_failed",
]
"""When outside code is called. `before_cutover` is the last thing before the switch, after every
check."""

Hooks: TypeAlias = Mapping[Moment, Callable[["Status"], None]]
"""Outside code at named moments. A hook that fails stops the move it guards."""


class NoContents:
    """The source of an upgrade that has none: it knows the content of no item."""

    def __call__(self, item_ids: Sequence[str], /) -> Mapping[str, Any]:
        """Know nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class NoEmbedder:
    """Stands for a model that is not at hand, where nothing is to be embedded."""

    model_id: ModelId

    def __call__(self, contents: Sequence[Any], /) -> Any:
        """Raise ConfigError."""
        raise ConfigError(f"to embed items now, an embedder of {self.model_id} is needed; give one")


class Parts(ABC):
    """Where an upgrade gets its store, journal, models, source and decisions from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What people know these parts by: the configuration file, or the folder."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The upgrade's own folder: its journal, unless that is elsewhere, and its fits."""

    @property
    def previous(self) -> Parts | None:
        """In a chain, the parts of the unfinished upgrade that this one supersedes."""
        return None

    @property
    def hooks(self) -> Hooks:
        """Outside code by moment."""
        return {}

    @property
    def probes(self) -> Mapping[str, Callable[[], float]]:
        """Measurements by name, for `Plan.limits`."""
        return {}

    @property
    def free_bytes(self) -> int | None:
        """Room where the store lives; None where that is not known."""
        return None

    @abstractmethod
    def gallery(self) -> Gallery:
        """Open the store. Raises StoreError, StoreBusyError, MissingExtraError."""

    def close_gallery(self, gallery: Gallery) -> None:
        """Let go of a store that `gallery` opened."""
        gallery.close()

    def blockers(self, *, many_processes: bool) -> tuple[str, ...]:
        """Say what of these parts does not fit together. many_processes: what the store takes."""
        return ()

    def release(self) -> None:  # noqa: B027  # most have nothing to release
        """Let go of models that these parts have loaded; they are loaded again when needed."""

    @abstractmethod
    def journal(self) -> Journal:
        """Open the journal; make it, and the folder, if it is missing."""

    @abstractmethod
    def look(self) -> Journal:
        """Open the journal to read it; before the upgrade begins, an empty one. Makes nothing."""

    @abstractmethod
    def archive(self) -> str:
        """Put journal and folder of an upgrade that has ended aside; tell where they are now."""

    @abstractmethod
    def source(self, gallery: Gallery | None = None) -> Source:
        """Return what gives the content of items by id. Raises ConfigError where there is none.

        gallery: the open store, for contents that are kept there.
        """

    @abstractmethod
    def embedder(self, which: Which) -> Embedder | None:
        """Return the embedder of a model, made once; None where there is none."""

    def query_embedder(self, which: Which) -> Embedder | None:
        """Return another embedder of a model's queries; None where the model embeds its own."""
        return None

    @abstractmethod
    def model(self, which: Which) -> ModelId:
        """Tell the id of a model."""

    @abstractmethod
    def backfilling(self, gallery: Gallery) -> tuple[Source, Embedder]:
        """Return what new vectors are made of, and by: contents, or the old vectors themselves."""

    @abstractmethod
    def draft(self) -> Plan:
        """Return the plan as far as it is decided; nothing is looked at."""

    def plan_in_force(self, journal: Journal) -> Plan:
        """Return the plan that the upgrade began with; before it begins, the draft."""
        return self.draft() if journal.last("plan") is None else self.plan_to_look_at(journal)

    def plan_to_look_at(self, journal: Journal) -> Plan:
        """Return the plan in force without loading a model; before it begins, the sketch."""
        begun = journal.last("plan")
        return in_force(Plan.from_dict(begun.body), journal) if begun else self.sketch()

    def sketch(self) -> Plan:
        """Return the draft for people to look at, without loading a model.

        A model that only its embedder knows is a name without a revision.
        """
        return self.draft()

    def older_models(self) -> tuple[ModelId, ...]:
        """In a chain, return the models before the old one, whose spaces may still be searched.

        Raises ConfigError unless the old model is the one that the previous upgrade led to.
        """
        previous = self.previous
        if previous is None:
            return ()
        with closing(previous.look()) as journal:
            plan = previous.plan_in_force(journal)
        if plan.new_model != self.model("old"):
            raise ConfigError(
                f"{self.name} supersedes {previous.name}, which leads to {plan.new_model}; "
                f"[old] must be that model, and is {self.model('old')}"
            )
        return plan.old_models


def in_force(plan: Plan, journal: Journal) -> Plan:
    """Return a plan with the finish that was fitted for it, once it is prepared."""
    fitted = journal.last("fit")
    finished = None if fitted is None else fitted.body.get("finished")
    if plan.finish == "plain" or finished is None or journal.phase is Phase.PLANNED:
        return plan
    return with_finish(plan, ModelId.from_dict(finished))


@dataclass(frozen=True, slots=True)
class Model:
    """A model as `hotfill.Upgrade` takes it, where its embedder alone does not say all.

    embedder: makes its vectors; None for an old model that no longer runs.
    model_id: needed without an embedder.
    query_embedder: another embedder for queries, with vectors comparable with this model's.
    """

    embedder: Embedder | None = None
    model_id: ModelId | None = None
    query_embedder: Embedder | None = None

    @classmethod
    def of(cls, given: Model | Embedder | ModelId) -> Model:
        """Read what a user gives for a model. Raises ConfigError when it is none of the three."""
        if isinstance(given, cls):
            found = given
        elif isinstance(given, ModelId):
            found = cls(model_id=given)
        elif isinstance(given, Embedder):
            found = cls(embedder=given)
        else:
            raise ConfigError(
                "a model is an embedder (callable, with `model_id`), a ModelId, or a Model; "
                f"got {type(given).__name__}"
            )
        if found.embedder is None and found.model_id is None:
            raise ConfigError("a Model needs an embedder or a model_id")
        return found

    @property
    def id(self) -> ModelId:
        """Tell its id. Raises ConfigError when embedder and model_id disagree."""
        if self.embedder is None:
            assert self.model_id is not None
            return self.model_id
        made = self.embedder.model_id
        if self.model_id not in (None, made):
            raise ConfigError(f"model_id and embedder disagree: {made.differences(self.model_id)}")
        return made


@dataclass(frozen=True, slots=True)
class GivenParts(Parts):
    """Parts that a program already has. The gallery stays open when the upgrade is closed.

    settings: fields of `Plan` by name, and the keys of `OF_PARTS`.
    """

    given_gallery: Gallery
    old: Model
    new: Model
    given_source: Source | None
    own_folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)

    OF_PARTS = ("journal", "hooks", "probes", "previous")
    """Settings that are no fields of `Plan`: `journal` opens a journal kept elsewhere than in the
    folder; `previous` is the unfinished `Upgrade` that this one supersedes, in a chain."""

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.own_folder)

    @property
    def folder(self) -> Path:
        """The upgrade's own folder."""
        return self.own_folder

    @property
    def previous(self) -> Parts | None:
        """The parts of the upgrade given as `previous`."""
        found: Parts | None = self.settings.get("previous")
        return found

    @property
    def hooks(self) -> Hooks:
        """As given."""
        found: Hooks = self.settings.get("hooks", {})
        return found

    @property
    def probes(self) -> Mapping[str, Callable[[], float]]:
        """As given."""
        found: Mapping[str, Callable[[], float]] = self.settings.get("probes", {})
        return found

    def gallery(self) -> Gallery:
        """Return the gallery that was given."""
        return self.given_gallery

    def close_gallery(self, gallery: Gallery) -> None:
        """Leave it open: whoever opened it closes it."""

    def journal(self) -> Journal:
        """Open the journal in the folder, unless one is given."""
        self.own_folder.mkdir(parents=True, exist_ok=True)
        open_journal: Callable[[], Journal] | None = self.settings.get("journal")
        if open_journal is not None:
            return open_journal()
        return SqliteJournal(self.own_folder / "journal.sqlite")

    def look(self) -> Journal:
        """Open the journal; an empty one in memory before there is one."""
        path = self.own_folder / "journal.sqlite"
        if "journal" in self.settings or path.exists():
            return self.journal()
        return SqliteJournal(Path(":memory:"))

    def archive(self) -> str:
        """Rename the folder. Raises ConfigError where the journal is kept elsewhere."""
        if "journal" in self.settings:
            raise ConfigError("the journal is kept elsewhere: give a new upgrade another one")
        return str(set_aside(self.own_folder))

    def source(self, gallery: Gallery | None = None) -> Source:
        """Return the source that was given."""
        if self.given_source is None:
            raise ConfigError("the contents of items are needed here: give a source")
        return self.given_source

    def embedder(self, which: Which) -> Embedder | None:
        """Return the embedder given for a model."""
        return self._given(which).embedder

    def query_embedder(self, which: Which) -> Embedder | None:
        """Return the query embedder given for a model."""
        return self._given(which).query_embedder

    def model(self, which: Which) -> ModelId:
        """Tell the id of a model."""
        return self._given(which).id

    def backfilling(self, gallery: Gallery) -> tuple[Source, Embedder]:
        """Return source and new embedder. Raises ConfigError where one is missing."""
        if self.given_source is None and self.settings.get("backfill") == "none":
            return NoContents(), self.new.embedder or NoEmbedder(self.new.id)
        if self.new.embedder is None:
            raise ConfigError("to embed items, the new model's embedder is needed: give one")
        return self.source(), self.new.embedder

    def draft(self) -> Plan:
        """Return the plan that the settings decide. Raises ConfigError for an unknown one."""
        decided = {key: value for key, value in self.settings.items() if key not in self.OF_PARTS}
        if "older_models" in decided:
            raise ConfigError(
                "older_models follow from the unfinished upgrade before this one: give that "
                "`Upgrade` as previous="
            )
        for which in WHICH:
            if f"{which}_model" in decided or f"{which}_query_model" in decided:
                raise ConfigError(
                    f"the {which} model is given as {which}=; what embeds its queries as "
                    f"{which}=hotfill.Model(embedder, query_embedder=...)"
                )
        unknown = sorted(decided.keys() - Plan.__dataclass_fields__.keys())
        if unknown:
            raise ConfigError(f"unknown setting {unknown[0]!r}; see `hotfill.Plan` for all")
        for which in WHICH:
            queries = self.query_embedder(which)
            decided[f"{which}_query_model"] = None if queries is None else queries.model_id
        return Plan(
            self.model("old"), self.model("new"), older_models=self.older_models(), **decided
        )

    def _given(self, which: Which) -> Model:
        return self.old if which == "old" else self.new
