"""Which models a gallery holds now, and how far each has come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hotfill.stores.base import Gallery
    from hotfill.upgrade.status import Status


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a gallery is searched in the space of one model.

    model: with its revision. items: searched there. embedded: of these, those whose vector the
    model itself made; a transform made the others. share: of all items, from 0 to 1.
    """

    model: str
    items: int
    embedded: int
    share: float


@dataclass(frozen=True, slots=True)
class Current:
    """The models of a gallery, oldest first.

    told_by: the store, or the journal as the process at work last wrote it.
    """

    models: tuple[Coverage, ...]
    told_by: Literal["store", "journal"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "models": [asdict(each) for each in self.models]}


def current_of(gallery: Gallery) -> Current:
    """Count in the store."""
    total = len(gallery)
    return Current(
        tuple(
            _coverage(
                str(space),
                gallery.count(space),
                gallery.count(space, origin=space.fingerprint),
                total,
            )
            for space in gallery.spaces
        ),
        "store",
    )


def current_told(status: Status) -> Current:
    """Work it out from a status, for when another process has the store open."""
    total = max(status.items, status.visible)
    embedded = min(status.moved + status.skipped, status.visible)
    old = total - status.visible
    return Current(
        (
            _coverage(status.old_model, old, old, total),
            _coverage(status.new_model, status.visible, embedded, total),
        ),
        "journal",
    )


def _coverage(model: str, items: int, embedded: int, total: int) -> Coverage:
    return Coverage(model, items, embedded, items / total if total else 0.0)
