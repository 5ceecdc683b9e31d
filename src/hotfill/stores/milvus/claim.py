"""One process at a time: a claim on a gallery, kept on the server, that ends with its holder.

Milvus has no conditional writes to rows. But a collection can be renamed, and of two processes
that rename the same one only one succeeds. So each gallery has a small collection without rows,
whose *name* says who has the gallery, and taking the gallery is renaming it: from the name of the
last holder, which one has seen and judged gone, to one's own. Its properties hold the stamp and
the holder's sign of life.
"""

from __future__ import annotations

import json
import re
import time
from threading import Event, Thread
from typing import TYPE_CHECKING

from pymilvus import DataType

from hotfill.errors import StoreBusyError, StoreError
from hotfill.stores.holder import has_ended, new_holder, taken_at
from hotfill.stores.milvus.server import MissingCollectionError
from hotfill.stores.milvus.stamp import MilvusStamp

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from hotfill.stores.milvus.server import Server

BEAT_SECONDS = 10.0
GONE_AFTER_SECONDS = 45.0  # without a sign of life
_FREE = "free"
_NOTE = re.compile(r"(.+)_hotfill_(?:free|p\w+)")
_BEAT, _STAMP, _OWNER = "hotfill.beat", "hotfill.stamp", "hotfill.owner"


class Claim:
    """A gallery held by this process.

    torn: whether the last holder did not end in order; then there may be something to repair.
    last_beat: when it last gave a sign of life, in seconds since 1970; 0 if never.
    """

    def __init__(self, server: Server, gallery: str, name: str, torn: bool, beat: float) -> None:
        """Use `make` or `take`."""
        self._server, self._gallery, self._name = server, gallery, name
        self.torn, self.last_beat = torn, beat
        self._lost = ""
        self._ended = Event()
        self._beat_at = time.monotonic()
        self.beat()
        self._thread = Thread(target=self._keep, name=f"hotfill-claim-{gallery}", daemon=True)
        self._thread.start()

    @classmethod
    def make(cls, server: Server, gallery: str) -> Claim:
        """Make the note of a new gallery, held by this process."""
        if _find(server, gallery) is not None:
            raise StoreError(f"there is a gallery {gallery!r} already: open it")
        name = _named(gallery, new_holder())

        def create(client: MilvusClient) -> None:
            schema = client.create_schema(auto_id=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
            client.create_collection(name, schema=schema)

        server.call("make the note of the gallery", create)
        return cls(server, gallery, name, False, 0.0)

    @classmethod
    def take(cls, server: Server, gallery: str) -> Claim:
        """Take a gallery that nobody has, or whose holder is gone.

        Raises StoreError when there is none, StoreBusyError when a process has it.
        """
        found = _find(server, gallery)
        if found is None:
            raise StoreError(
                f"there is no hotfill gallery {gallery!r}: stamp a collection, or create one"
            )
        holder = found.removeprefix(_named(gallery, ""))
        beat = _last_beat(server, found, holder)
        if holder != _FREE and not _gone(holder, beat):
            raise StoreBusyError(
                f"{gallery} is open in another process ({holder}, last sign of life "
                f"{time.time() - beat:.0f} s ago), and this store takes one at a time: stop that "
                f"one, or wait {GONE_AFTER_SECONDS:.0f} s after it died",
                retryable=True,
            )
        name = _named(gallery, new_holder())
        try:
            server.call("take the gallery", lambda c: c.rename_collection(found, name))
        except MissingCollectionError as error:
            raise StoreBusyError(
                f"{gallery} was taken by another process just now", retryable=True
            ) from error
        return cls(server, gallery, name, holder != _FREE, beat)

    @property
    def stamp(self) -> str | None:
        """The stamp, as text."""
        return self._properties().get(_STAMP)

    @stamp.setter
    def stamp(self, text: str) -> None:
        self._set({_STAMP: text})

    @property
    def owner(self) -> str:
        """The upgrade that has the gallery, whichever process works at it; empty when none has."""
        return self._properties().get(_OWNER) or ""

    @owner.setter
    def owner(self, name: str) -> None:
        self._set({_OWNER: name})

    def _properties(self) -> dict[str, str]:
        return (self._server.describe(self._name) or {}).get("properties") or {}

    def check(self) -> None:
        """Raise StoreBusyError unless this process may write.

        Called before each write. A process that was stopped for long finds here that another took
        its place; what is left is the time between this check and the write's arrival.
        """
        if time.monotonic() - self._beat_at > GONE_AFTER_SECONDS / 2:
            self.beat()
        if self._lost:
            raise StoreBusyError(self._lost)

    def beat(self) -> None:
        """Give a sign of life."""
        now, at = time.time(), time.monotonic()
        self._set({_BEAT: json.dumps({"at": now, "holder": self._name})})
        self._beat_at = at

    def _set(self, properties: dict[str, str]) -> None:
        if self._lost:
            raise StoreBusyError(self._lost)
        try:
            self._server.call(
                "write to the note of the gallery",
                lambda c: c.alter_collection_properties(self._name, properties),
            )
        except MissingCollectionError as error:
            self._lost = (
                f"{self._gallery} was taken by another process, because this one gave no sign of "
                "life: open it again"
            )
            raise StoreBusyError(self._lost) from error

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self.beat()
            except StoreBusyError:
                return
            except StoreError:
                pass  # the server is away; `check` tries again before the next write

    def end(self, *, settled: bool) -> None:
        """Let others have the gallery. settled: whether nothing is left to repair."""
        self._ended.set()
        self._thread.join()
        if settled and not self._lost:
            free = _named(self._gallery, _FREE)
            self._server.call("free the gallery", lambda c: c.rename_collection(self._name, free))


def _named(gallery: str, holder: str) -> str:
    return f"{gallery}_hotfill_{holder}"


def _find(server: Server, gallery: str) -> str | None:
    pattern = re.compile(re.escape(_named(gallery, "")) + r"(free|p\w+)")
    found = [name for name in server.names() if pattern.fullmatch(name)]
    return found[0] if found else None


def read_stamps(server: Server) -> tuple[set[str], dict[str, MilvusStamp]]:
    """Read what all galleries of a server say of themselves, without taking one.

    Returns the names of their notes, and their stamps by gallery.
    """
    notes = {name: found[1] for name in server.names() if (found := _NOTE.fullmatch(name))}
    return set(notes), {
        gallery: MilvusStamp.from_json(
            ((server.describe(name) or {}).get("properties") or {}).get(_STAMP), gallery
        )
        for name, gallery in notes.items()
    }


def _gone(holder: str, beat: float) -> bool:
    """Tell whether a holder is dead: at once for one of this machine, else by its silence."""
    ended = has_ended(holder)
    return time.time() - beat > GONE_AFTER_SECONDS if ended is None else ended


def _last_beat(server: Server, name: str, holder: str) -> float:
    """Return when the holder gave a sign of life: taking the gallery was one."""
    taken = 0.0 if holder == _FREE else taken_at(holder)
    text = ((server.describe(name) or {}).get("properties") or {}).get(_BEAT)
    if text is None:
        return taken
    beat = json.loads(text)
    # Of another holder, if this one had not yet the time to write one.
    return max(taken, float(beat["at"])) if beat["holder"] == name or holder == _FREE else taken
