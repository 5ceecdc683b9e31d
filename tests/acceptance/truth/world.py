"""One gallery with its application, upgraded and struck until the upgrade has ended."""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from hotfill import config
from hotfill.config import open_upgrade as opened
from hotfill.errors import HotfillError
from hotfill.upgrade.astray import astray_noted
from hotfill.upgrade.phases import Phase
from hotfill.upgrade.status import take_status
from tests.acceptance.campaign.small_disk import SmallDisk
from tests.acceptance.truth import application
from tests.acceptance.truth.oracle import Imputer, Judged, Oracle, Write
from tests.acceptance.truth.power import Disk, copy_tree, recorder
from tests.acceptance.truth.shop import (
    NEW,
    OLD,
    Shop,
    content,
    new_model,
    old_model,
    third_model,
    write_config,
)

ITEMS = 200
GENERATIONS = ", generations"  # after the kind of a store
PATIENCE_SECONDS = 240.0  # Chroma on two busy cores was seen to take 119
_LATE_SECONDS = 5.0  # how long after a process has ended a server may still do what it asked for
_STEPS = {
    Phase.PLANNED: "start",
    Phase.PREPARED: "start",
    Phase.BACKFILLING: "start",
    Phase.BACKFILLED: "cutover",
    Phase.CUT_OVER: "complete",
    Phase.ABORTING: "abort",
    Phase.ROLLING_BACK: "rollback",
}


@functools.cache
def _processes():
    """Forks processes from one that has imported everything, and has the recorder preloaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.acceptance.truth.application", "hotfill.config"])
    if (library := recorder()) is not None:
        os.environ["LD_PRELOAD"] = str(library)
    try:
        first = context.Process(target=time.monotonic)
        first.start()
        first.join()
    finally:
        os.environ.pop("LD_PRELOAD", None)
    return context


@dataclass(slots=True)
class Outcome:
    """What came of one fault, until the next. silent: answers that pretended to be whole."""

    store: str
    kind: str
    step: str
    phase: str = ""
    answers: int = 0
    writes: int = 0
    refused: int = 0
    silent: int = 0
    lost: int = 0
    doubled: int = 0
    resurrected: int = 0
    stale: int = 0
    foreign: int = 0
    dead_end: bool = False
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)

    @property
    def faultless(self) -> bool:
        return not (
            self.silent
            or self.lost
            or self.doubled
            or self.resurrected
            or self.stale
            or self.foreign
            or self.dead_end
        )

    def count(self, judged: Judged, *, answer: bool) -> None:
        self.silent += answer and not judged.faultless
        for name in ("lost", "doubled", "resurrected", "stale"):
            setattr(self, name, getattr(self, name) + getattr(judged, name))
        self.said += [each for each in judged.examples if each not in self.said]


class Session:
    """An application process. ended: why its step ended (None: well), once it has said so."""

    def __init__(self, world: World, step: str | None, least: int, **settings) -> None:
        self._world = world
        self.step = step
        self.messages = 0
        self.ended: str | None = "it said nothing"
        self._answers: list[tuple] = []
        self._begun: list[Write] = []
        self._reader, writer = multiprocessing.Pipe(duplex=False)
        self.process = _processes().Process(
            target=application.main,
            args=(
                settings.pop("config", str(world.path)),
                {item: world.oracle.newest(item) for item in world.oracle.item_ids},
                int(world.random.integers(2**31)),
                step,
                least,
                writer,
                {"shop": str(world.folder), **settings},
            ),
        )
        self.process.start()
        writer.close()
        self._thread = threading.Thread(target=self._read, daemon=True)
        with world.heard:
            world.sessions.append(self)
        self._thread.start()

    def _read(self) -> None:
        world = self._world
        while self in world.sessions:
            wait([self._reader])
            with world.heard:
                if self in world.sessions:  # another may have heard its end
                    self.take()
                answers, self._answers = self._answers, []
                for session in list(world.sessions):  # whatever others did before these answers
                    if session is not self:
                        session.take()
                for words in answers:
                    world.outcome.answers += 1
                    world.outcome.count(world.oracle.judge_answer(*words), answer=True)
                world.heard.notify_all()

    def take(self) -> None:
        """Hear what it has said so far; answers wait until all others are heard, after them."""
        try:
            while self._reader.poll():
                self._hear(*self._reader.recv())
        except (EOFError, ConnectionResetError):
            self._world.sessions.remove(self)
            self._reader.close()

    def _hear(self, kind, *words) -> None:
        oracle, outcome = self._world.oracle, self._world.outcome
        self.messages += 1
        if kind == "searched":
            self._answers.append(words)
        elif kind == "begins":
            self._begun.append(oracle.begin(*words))
        elif kind == "wrote":
            outcome.writes += 1
            oracle.acknowledge(*words)
        elif kind == "refused":
            outcome.refused += 1
        elif kind == "failed":
            outcome.foreign += 1
            outcome.said.append(words[0])
        elif kind == "ended":
            self.ended = words[0]
            if words[0] and words[0].startswith("foreign"):
                outcome.foreign += 1
                outcome.said.append(words[0])

    def wait_for(self, messages: int) -> None:
        """Wait until it has said so much, or has ended."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.messages < messages and self.process.is_alive():
            assert time.monotonic() < deadline
            with self._world.heard:
                self._world.heard.wait(0.1)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.finish()

    def finish(self) -> None:
        """Wait for its end, and for all that it said."""
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self._world.outcome.dead_end = True
            self._world.outcome.said.append(f"{self.step} did not end")
            self.process.kill()
            self.process.join()
        self._thread.join()
        over = time.monotonic() + _LATE_SECONDS
        for write in self._begun:
            write.ended = min(write.ended, over)


class World:
    """One gallery of a store on disk. small: a disk to keep it on; None: where `folder` is.

    factories: of the models that the upgrade leads from and to. more: kinds of faults that strike
    here in addition to those of every world. keeps_items: whether a copy of `site` has all items.
    """

    factories = ("old_model", "new_model")
    more: tuple[str, ...] = ()
    keeps_items = True

    def __init__(self, store: str, folder: Path, random, small: SmallDisk | None = None) -> None:
        self.store, self.folder, self.random, self.small = store, folder, random, small
        folder.mkdir(parents=True, exist_ok=True)
        self.site = (folder if small is None else small.folder / folder.name) / "site"
        self.site.mkdir(parents=True)
        self.shop = Shop(folder)
        self.oracle = Oracle(self._models())
        self.outcome = Outcome(store, "none", "")
        self.sessions: list[Session] = []
        self.heard = threading.Condition(threading.RLock())
        self.backups: list[tuple[float, Path]] = []
        self.path = self._configure()
        self._fill()
        self.back_up()

    @property
    def kind(self) -> str:
        """The store's kind in a configuration."""
        return self.store

    @property
    def spared(self) -> set[str]:
        """Kinds of faults that do not strike here."""
        return set()

    def imputers(self, up) -> dict[str, Imputer]:
        """How items are imputed that are not looked at by their models alone, by origin."""
        return {}

    def _models(self):
        return (old_model(), new_model())

    def _section(self) -> dict[str, Any]:
        place = "location" if self.kind in ("chroma", "qdrant") else "path"
        return {"kind": self.kind, place: "gallery", "exact": True}

    def _journal(self, name: str) -> dict[str, Any] | None:
        """The section of an upgrade's journal; None: a file."""
        return None

    def _config(self, name: str, factories: tuple[str, str], **more) -> Path:
        """Write the configuration of an upgrade of this gallery."""
        path, journal = self.site / f"{name}.toml", self._journal(name)
        return write_config(
            path, self.folder, self._section(), journal=journal, models=factories, **more
        )

    def _configure(self) -> Path:
        return self._config("upgrade", self.factories)

    def _create(self):
        if self.kind == "index-files":
            from hotfill.stores.index_files import IndexFilesGallery

            return IndexFilesGallery.create(self.site / "gallery", OLD, exact=True)
        if self.kind == "lancedb":
            from hotfill.stores.lancedb import LanceDBGallery

            return LanceDBGallery.create(self.site / "gallery", OLD, exact=True)
        if self.kind == "chroma":
            from hotfill.stores.chroma import ChromaGallery

            return ChromaGallery.create(str(self.site / "gallery"), OLD, exact=True)
        if self.kind == "qdrant":
            from hotfill.stores.qdrant import QdrantGallery

            return QdrantGallery.create(str(self.site / "gallery"), OLD, exact=True)
        from hotfill.stores.qdrant_edge import QdrantEdgeGallery

        return QdrantEdgeGallery.create(self.site / "gallery", OLD, exact=True)

    def _fill(self) -> None:
        ids = [f"item-{number:05}" for number in range(ITEMS)]
        for item_id in ids:
            self.shop.put(item_id, 1)
            self.oracle.begin(item_id, 1, 0.0)
            self.oracle.acknowledge(item_id, 1, 0.0)
        with self._create() as gallery:
            gallery.upsert(ids, old_model()([content(i, 1) for i in ids]), space=OLD)

    # What a fault needs ----------------------------------------------------------------------

    @property
    def project(self):
        return config.read(self.path)

    def delete_journal(self) -> None:
        for path in self.journal_files:
            path.unlink()

    def take_over(self) -> None:
        """Say that the upgrade has the gallery, as whoever lost its journal does.

        Nothing where one process opens it at a time.
        """

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody be at work but whom the block begins."""
        yield

    @contextmanager
    def store_away(self) -> Iterator[None]:
        """Let the store do nothing for anybody during the block, and all be heard that it did."""
        yield

    def restore_store(self, backup: Path) -> None:
        """Put the gallery back to a copy of the site."""
        for name in ("gallery", "codes"):
            shutil.rmtree(self.site / name, ignore_errors=True)
            if (backup / name).exists():
                shutil.copytree(backup / name, self.site / name)

    @property
    def journal_files(self) -> list[Path]:
        return sorted(self.project.folder.glob("journal.sqlite*"))

    @property
    def phase(self) -> Phase:
        with closing(self.project.look()) as journal:
            return journal.phase

    def back_up(self) -> None:
        """Keep a copy of everything; nobody may be at work."""
        place = self.folder / f"backup-{len(self.backups)}"
        copy_tree(self.site, place)
        self.backups.append((time.monotonic(), place))

    def next_step(self) -> str | None:
        """The command that leads on; None when the upgrade has ended.

        Where the status names one that comes first, since phase and store differ, it is that.
        """
        with closing(self.project.look()) as journal:
            status = take_status(journal, self.project.plan_in_force(journal))
            usual = _STEPS.get(status.phase)
            named = status.next_steps[0] if status.next_steps else None
            if named == "dead-letters":  # the application decides about them before its step
                return usual
            if astray_noted(journal) is not None or named == "start":
                return named or usual
            return usual

    # One fault after the other ---------------------------------------------------------------

    def begin(self, kind: str, step: str) -> Outcome:
        self.outcome = Outcome(self.store, kind, step)
        return self.outcome

    def session(self, step: str | None, least: int = 3, **settings) -> Session:
        """Begin a process."""
        return Session(self, step, least, **settings)

    def recorded(self) -> dict[str, Any]:
        """Record from now on what reaches the disk; returns settings for the session that does.

        What was there before is taken to have reached it by now. Only a power cut asks for it: each
        sync is followed by a list of all names, which are thousands in some stores.
        """
        # A place of its own: processes that are being killed may still write to the last one.
        place = Path(tempfile.mkdtemp(prefix="disk-", dir=self.folder))
        self.disk = Disk(self.site, place)
        return {"environment": self.disk.environment}

    def close(self) -> None:
        """End every process, and give the small disk its room back."""
        if self.small is not None:
            shutil.rmtree(self.site.parent)

    def look(self) -> None:
        """Search and write as the application does before anybody has repaired anything."""
        self.session(None).finish()

    def go_on(self, step: str) -> None:
        """Give the command that the status names until one has done its work, as people do.

        A refusal may name another one before: a restored store may name an upgrade that was lost.
        """
        for _ in range(6):
            if (now := self.next_step()) is None:
                return
            session = self.session(now)
            session.finish()
            if session.ended is None:
                return
            if "adopt --take-over" in session.ended:
                self.take_over()
        self.outcome.dead_end = True
        self.outcome.said.append(f"{step}: {session.ended}")

    def examine(self) -> None:
        """Look at every item."""
        with redirect_stdout(StringIO()):
            try:
                with opened(self.path) as up:
                    judged = self.oracle.judge_gallery(
                        up.gallery, time.monotonic(), self.imputers(up)
                    )
            except HotfillError as error:
                self.outcome.refused += 1
                self.outcome.said.append(repr(error))
                return
        self.outcome.count(judged, answer=False)


class ChainWorld(World):
    """A third model takes over an upgrade that is half done: three sides."""

    @property
    def kind(self) -> str:
        return "qdrant-edge"

    def _models(self):
        return (*super()._models(), third_model())

    def _configure(self) -> Path:
        self._first = super()._configure()
        return self._config("third", ("new_model", "third_model"), supersedes=self._first.name)

    def _fill(self) -> None:
        super()._fill()
        with redirect_stdout(StringIO()), opened(self._first) as up:
            up.start(background=True)
            while up.phase is not Phase.BACKFILLING or not up.gallery.count(NEW):
                time.sleep(0.01)
            up.stop()
            up.wait()


class GenerationsWorld(World):
    """A third model over a gallery half of which stayed imputed; half of that stays so again."""

    factories = ("new_model", "third_model")

    @property
    def kind(self) -> str:
        return self.store.removesuffix(GENERATIONS)

    @property
    def spared(self) -> set[str]:
        # Without its notes an imputed vector goes back as the model's own: decision 12 says so.
        return super().spared | {"journal deleted", "journal restored"}

    def _models(self):
        return (*super()._models(), third_model())

    def _configure(self) -> Path:
        budget = {"backfill": "budget", "budget_share": 0.5}
        self._first = self._config("upgrade", World.factories, upgrade=budget)
        return self._config("third", self.factories, upgrade=budget)

    def _fill(self) -> None:
        super()._fill()
        with redirect_stdout(StringIO()), opened(self._first) as up:
            up.start()
            first = up._state().load_fit().up
            assert up.verify().passed
            up.cutover()
            up.complete()
            imputed = up.gallery.count(NEW, origin=first.fingerprint)
            assert (imputed, len(up.gallery)) == (ITEMS // 2, ITEMS)
        self._imputed = {first.fingerprint: lambda rows: first(old_model()(rows))}

    def imputers(self, up) -> dict[str, Imputer]:
        state, made = up._state(), dict(self._imputed)
        if state.journal.last("fit") is None:
            return made
        fit = state.load_fit()

        def over(carry, before: Imputer) -> Imputer:
            return lambda rows: carry(before(rows))

        made[fit.up.fingerprint] = over(fit.up, new_model())
        for before in state.imputed_before.keys() & self._imputed.keys():
            carry, origin = state.map_over(fit, before)
            made[origin] = over(carry, self._imputed[before])
        return made


class CodesWorld(World):
    """The new model's vectors are kept as binary codes."""

    @property
    def kind(self) -> str:
        return "qdrant-edge"

    @functools.cached_property
    def _encoder(self):
        from hotfill.binary import CodeFormat
        from hotfill.lab.binary import fit_start

        rows = new_model()([content(f"fitted-{number}", 1) for number in range(400)])
        return fit_start(rows, NEW, CodeFormat(NEW.dimension, 4))

    def _models(self):
        from hotfill.binary import BinaryEmbedder

        return (old_model(), BinaryEmbedder(new_model(), self._encoder))

    def _configure(self) -> Path:
        from hotfill.binary import save_encoder

        save_encoder(self._encoder, self.site / "encoder.safetensors")
        return self._config("upgrade", self.factories, new={"encoder": "encoder.safetensors"})


def table(outcomes: list[Outcome]) -> str:
    """A Markdown table: a row for each store and kind, and their sum."""
    names = ("answers", "writes", "refused", "silent", "lost", "doubled", "resurrected", "stale")
    names += ("foreign", "dead_end")
    rows = [
        "| store | fault | faults | " + " | ".join(names).replace("_", " ") + " |",
        "|---|---|" + "---:|" * (len(names) + 1),
    ]
    for store, kind in [*sorted({(each.store, each.kind) for each in outcomes}), ("**all**", "")]:
        some = [e for e in outcomes if not kind or (e.store, e.kind) == (store, kind)]
        counts: Counter[str] = Counter()
        for each in some:
            counts.update({name: int(getattr(each, name)) for name in names})
        cells = [store, kind, len(some), *(counts[name] for name in names)]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)
