"""The parts of an upgrade that one configuration file names, made when they are asked for."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hotfill.binary import Binarisation, BinaryEmbedder, GridCodec, load_encoder
from hotfill.config.settings import ModelSection, Settings, StoredSection
from hotfill.embedders.cache import CachedEmbedder, KeptEmbedder
from hotfill.embedders.frameworks import FrameworkEmbedder, of_framework
from hotfill.embedders.vector_cache import VectorCache
from hotfill.errors import ConfigError, HotfillError, ModelMismatchError
from hotfill.factories import made_by
from hotfill.integrations.collections import StoredContents
from hotfill.stores.coded import CodedGallery
from hotfill.types import Embedder, ModelId
from hotfill.upgrade.parts import WHICH, Hooks, Moment, NoContents, NoEmbedder, Parts, Which
from hotfill.upgrade.plan import Plan
from hotfill.upgrade.stored_vectors import StoredVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotfill.binary import BinaryEncoder
    from hotfill.stores.base import Gallery
    from hotfill.types import Source
    from hotfill.upgrade.journal.base import Journal
    from hotfill.upgrade.status import Status


_KEPT = "embedded.sqlite"
"""Of the folder: vectors that a sample had made."""


@dataclass(frozen=True, slots=True)
class Project(Parts):
    """One configuration file, read: the parts of its upgrade.

    supersedes: in a chain, the unfinished upgrade that this one takes over.
    """

    path: Path
    settings: Settings
    supersedes: Project | None = None
    _made: dict[str, Embedder] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    @property
    def folder(self) -> Path:
        """The upgrade's own folder."""
        name = self.settings.folder or f"{self.path.stem}.upgrade"
        return self.path.parent / name

    @property
    def previous(self) -> Project | None:
        """In a chain, the parts of the unfinished upgrade."""
        return self.supersedes

    @property
    def hooks(self) -> Hooks:
        """The commands of [hooks]. Raises ConfigError for an unknown moment."""
        return shell_hooks(self.settings.hooks)

    @property
    def free_bytes(self) -> int | None:
        """Room where the store lives; None where that is not known."""
        return self.settings.store.free_bytes(self.path.parent)

    def blockers(self, *, many_processes: bool) -> tuple[str, ...]:
        """Say where the journal does not fit the store."""
        return tuple(
            self.settings.journal.blockers(
                self.settings.store.journal_dsn, many_processes=many_processes
            )
        )

    def release(self) -> None:
        """Close the embedders that were made, where they can be closed."""
        made = list(self._made.values())
        self._made.clear()
        for embedder in made:
            close = getattr(embedder, "close", None)
            if close is not None:
                close()

    def journal(self) -> Journal:
        """Open the journal; makes it, and the folder, if it is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)  # the fits are kept there, too
        return self.settings.journal.opened(self.folder, self.settings.store.journal_dsn)

    def look(self) -> Journal:
        """Open the journal to read it; before the upgrade begins, an empty one. Makes nothing."""
        return self.settings.journal.looked_at(self.folder, self.settings.store.journal_dsn)

    def archive(self) -> str:
        """Put journal and folder of an upgrade that has ended aside; tell where they are now."""
        return self.settings.journal.archived(self.folder, self.settings.store.journal_dsn)

    def gallery(self) -> Gallery:
        """Open the store. Raises StoreError, StoreBusyError, MissingExtraError."""
        return opened_with_codes(self.settings, self.path.parent)

    def source(self, gallery: Gallery | None = None) -> Source:
        """Make the source. Raises ConfigError where the file names none."""
        section = self.settings.source
        if section is None:
            raise ConfigError(
                f"{self.path}: [source] is missing: it gives the contents of items; where they are "
                'gone, write backfill = "none" under [upgrade]'
            )
        if isinstance(section, StoredSection):
            if gallery is None:
                raise ConfigError("contents are in the store here: open it first")
            return StoredContents(gallery, section.field)
        made: Source = made_by("source.factory", section.factory, section.options, self.path.parent)
        return made

    def embedder(self, which: Which) -> Embedder | None:
        """Make an embedder, once; None when the file names none."""
        if which in self._made:
            return self._made[which]
        section: ModelSection = getattr(self.settings, which)
        if section.embedder is None:
            made = self.embedder("old") if section.encoder is not None and which == "new" else None
        else:
            made = made_by(f"{which}.embedder", section.embedder, section.options, self.path.parent)
        if made is None:
            return None
        model = None if section.model is None or section.encoder else section.model
        made = _an_embedder(f"{which}.embedder", section.embedder, made, model)
        if section.encoder is not None:
            made = BinaryEmbedder(made, encoder_named(section.encoder, self.path.parent))
        if section.model is not None:
            wanted = ModelId.from_dict(section.model)
            if wanted != made.model_id:
                raise ConfigError(
                    f"[{which}] model and embedder disagree: {wanted.differences(made.model_id)}"
                )
        self._made[which] = made  # a model may take long to load
        return made

    def query_embedder(self, which: Which) -> Embedder | None:
        """Return what embeds a model's queries; None where the model embeds its own.

        Codes are asked by floats, which finds more, and some models have a prompt or a method of
        their own for queries: such an embedder gives another one by `for_queries`.
        """
        own = self.embedder(which)
        for_queries = getattr(own, "for_queries", None)
        asking: Embedder | None = None if for_queries is None else for_queries()
        return self._own_query_embedder(which) or asking

    def _own_query_embedder(self, which: Which) -> Embedder | None:
        """Make the query embedder that the file names, once."""
        section: ModelSection = getattr(self.settings, which)
        key = f"{which}.query_embedder"
        if section.query_embedder is not None and key not in self._made:
            made = made_by(key, section.query_embedder, section.query_options, self.path.parent)
            self._made[key] = _an_embedder(key, section.query_embedder, made)
        return self._made.get(key)

    def model(self, which: Which) -> ModelId:
        """Tell the id of a model, from the file or from its embedder."""
        section: ModelSection = getattr(self.settings, which)
        if section.model is not None:
            return ModelId.from_dict(section.model)
        if section.encoder is not None:
            return encoder_named(section.encoder, self.path.parent).space
        embedder = self.embedder(which)
        if embedder is None:
            raise ConfigError(f"[{which}] needs an embedder, or a model with its id")
        return embedder.model_id

    def sketch(self) -> Plan:
        """Return what the file decides, without loading a model; see `Parts.sketch`."""
        decided = self.settings.decided(self.path.parent)
        return Plan(self._named("old"), self._named("new"), **decided)

    def _named(self, which: Which) -> ModelId:
        section: ModelSection = getattr(self.settings, which)
        if section.model is not None or section.encoder is not None or which in self._made:
            return self.model(which)
        options = section.options
        name = options.get("model") or options.get("name") or section.embedder or "not named"
        return ModelId(str(name), "", 1)

    def draft(self) -> Plan:
        """Return the plan as far as the file decides it."""
        decided = self.settings.decided(self.path.parent)
        for which in WHICH:
            queries = self._own_query_embedder(which)
            decided[f"{which}_query_model"] = None if queries is None else queries.model_id
        old = self.settings.old
        if decided["queries"] == "both" and old.embedder is None and old.query_embedder is None:
            raise ConfigError(
                'queries = "both" has the old model embed each query too: [old] needs an embedder'
            )
        decided["older_models"] = self.older_models()
        return Plan(self.model("old"), self.model("new"), **decided)

    def backfilling(self, gallery: Gallery) -> tuple[Source, Embedder]:
        """Return what new vectors are made of and by: contents, or the old vectors themselves."""
        section = self.settings.new
        if section.encoder is None or section.embedder is not None:
            if self.settings.source is None and self.settings.upgrade.backfill == "none":
                return NoContents(), self.embedder("new") or NoEmbedder(self.model("new"))
            return self.source(gallery), self._new_embedder()
        old, encoder = self.model("old"), encoder_named(section.encoder, self.path.parent)
        if encoder.source != old:
            raise ModelMismatchError("[new] encoder", old, encoder.source)
        return StoredVectors(gallery, old), Binarisation(encoder)

    def keeping(self, embedder: Embedder) -> Embedder:
        """Let what the new embedder makes be kept in the folder, where `backfilling` finds it.

        For who embeds items before the upgrade begins, so that nobody pays for them twice. An
        embedder with a cache of its own needs no other.
        """
        if isinstance(embedder, CachedEmbedder):
            return embedder
        inner = embedder.uncached if isinstance(embedder, KeptEmbedder) else embedder
        self.folder.mkdir(parents=True, exist_ok=True)
        made = self._made["keeping"] = CachedEmbedder(inner, VectorCache(self.folder / _KEPT))
        return made

    def _new_embedder(self) -> Embedder:
        embedder = self.embedder("new")
        if embedder is None:
            raise ConfigError("[new] needs an embedder: items are embedded by it")
        kept = self.folder / _KEPT
        if isinstance(embedder, CachedEmbedder) or not kept.is_file():
            return embedder
        if "kept" not in self._made:
            self._made["kept"] = KeptEmbedder(embedder, VectorCache(kept))
        return self._made["kept"]


def _an_embedder(
    key: str, name: str | None, made: Any, model: Mapping[str, Any] | None = None
) -> Embedder:
    """Return what a factory made, as an embedder. model: of the file, for one that has no id."""
    if not isinstance(made, Embedder) and of_framework(made):
        return FrameworkEmbedder(made, None if model is None else ModelId.from_dict(model))
    if not isinstance(made, Embedder):
        raise ConfigError(
            f"{key} = {name!r} must give an object with `model_id` that can be called with "
            f"contents; it gave {type(made).__name__}"
        )
    return made


# Codes: the encoders that a file names, and the gallery around them -------------------------------


def encoder_named(name: str, folder: Path) -> BinaryEncoder:
    """Read an encoder's file. Raises InputError."""
    return load_encoder(folder / name)


def opened_with_codes(settings: Settings, folder: Path) -> Gallery:
    """Open the store; vectors of models with an encoder are kept as codes. folder: of the file."""
    names = [name for name in (settings.old.encoder, settings.new.encoder) if name is not None]
    codecs = [GridCodec(encoder_named(name, folder)) for name in names]
    gallery = settings.store.open(folder)
    return CodedGallery(gallery, folder / settings.codes, codecs) if codecs else gallery


# [hooks]: shell commands at named moments ---------------------------------------------------------


def shell_hooks(commands: Mapping[str, str]) -> Hooks:
    """Return what runs each command at its moment. Raises ConfigError on an unknown moment."""
    return {_moment(name): _shell(command) for name, command in commands.items()}


def _moment(name: str) -> Moment:
    for moment in get_args(Moment):
        if name == moment:
            return moment  # type: ignore[no-any-return]
    raise ConfigError(f"unknown hook {name!r}; known: {', '.join(get_args(Moment))}")


def _shell(command: str) -> Callable[[Status], None]:
    """Run a shell command with the status in its environment; a failure is an error."""

    def hook(status: Status) -> None:
        facts: Mapping[str, str] = {
            "HOTFILL_PHASE": str(status.phase),
            "HOTFILL_SHARE": f"{status.share:.4f}",
        }
        # What a hook says goes to stderr: stdout is for the result of the command.
        done = subprocess.run(["/bin/sh", "-c", command], env={**os.environ, **facts}, stdout=2)
        if done.returncode:
            raise HotfillError(f"the hook {command!r} failed with exit code {done.returncode}")

    return hook
