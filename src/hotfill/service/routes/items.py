"""Writing, removing and looking at items."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException

from hotfill.errors import InputError
from hotfill.service.access import may_read, may_write
from hotfill.service.models import Counted, Item, ItemsIn, ItemsOut
from hotfill.service.routes.parts import Served, problems

router = APIRouter(prefix="/items", tags=["items"])


@router.put("", dependencies=[Depends(may_write)], responses=problems(400, 409, 413, 422, 502, 503))
def write(items: ItemsIn, service: Served) -> Counted:
    """Write items: new ones, or new content of known ones. The next search finds them.

    Write your own database first, where the source reads contents: then a kill in between loses
    nothing, and the same call again mends it. All items are written, or none.
    """
    _check_number(len(items.items), service)
    metadata = [item.metadata for item in items.items if item.metadata is not None]
    service.serving.upsert(
        [item.item_id for item in items.items],
        [item.content for item in items.items],
        metadata or None,
    )
    return Counted(items=len(items.items))


@router.post(
    "/delete", dependencies=[Depends(may_write)], responses=problems(400, 409, 413, 422, 503)
)
def delete_many(items: ItemsOut, service: Served) -> Counted:
    """Remove items for good. Tells how many there were."""
    _check_number(len(items.item_ids), service)
    return Counted(items=service.serving.delete(items.item_ids))


@router.get("/{item_id:path}", dependencies=[Depends(may_read)], responses=problems(404, 422, 503))
def look(item_id: str, service: Served) -> Item:
    """Tell what is known of an item: its side, its version, its metadata."""
    (state,) = service.gallery.get([item_id])
    if state is None:
        raise HTTPException(404, "there is no item of this id")
    return Item(
        item_id=item_id,
        side="new" if state.space == service.plan.new_model else "old",
        model=state.space.fingerprint,
        made_by=state.origin,
        version=state.version,
        metadata=dict(state.metadata),
    )


@router.delete(
    "/{item_id:path}", dependencies=[Depends(may_write)], responses=problems(409, 422, 503)
)
def delete(item_id: str, service: Served) -> Counted:
    """Remove an item for good; again is harmless."""
    return Counted(items=service.serving.delete([item_id]))


def _check_number(n_items: int, service: Served) -> None:
    if n_items > service.settings.max_items:
        raise InputError(f"at most {service.settings.max_items} items a call, got {n_items}")
