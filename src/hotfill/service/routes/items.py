"""Writing, removing and looking at items."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from hotfill.errors import InputError
from hotfill.service.access import may_read, may_write
from hotfill.service.models import Counted, Item, ItemsIn, ItemsOut, MetadataIn
from hotfill.service.openapi import problems
from hotfill.service.routes import Served, StrictJson
from hotfill.upgrade.view import made_by

router = APIRouter(prefix="/items", tags=["items"], route_class=StrictJson)


class _AnyText(Convertor[str]):
    """Whatever an id may be; Starlette's own `path` stops at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any_text", _AnyText())


@router.put(
    "", dependencies=[Depends(may_write)], responses=problems(400, 409, 413, 422, 502, 503, 507)
)
def write(items: ItemsIn, service: Served) -> Counted:
    """Write items: new ones, or new content of known ones. The next search finds them.

    Write your own database first, where the source reads contents: then a kill in between loses
    nothing, and the same call again fixes it. All items are written, or none.
    """
    _check_number(len(items.items), service)
    metadata = [item.metadata for item in items.items if item.metadata is not None]
    service.up.upsert(
        [item.item_id for item in items.items],
        [item.what for item in items.items],
        metadata or None,
    )
    return Counted(items=len(items.items))


@router.patch(
    "", dependencies=[Depends(may_write)], responses=problems(400, 409, 413, 422, 503, 507)
)
def set_metadata(items: MetadataIn, service: Served) -> Counted:
    """Replace the metadata of items; nothing is embedded. The next search filters by it.

    Tells how many of the items there are; the others are passed over.
    """
    _check_number(len(items.items), service)
    item_ids = [item.item_id for item in items.items]
    service.up.set_metadata(item_ids, [item.metadata for item in items.items])
    return Counted(items=sum(state is not None for state in service.gallery.get(item_ids)))


@router.post(
    "/delete", dependencies=[Depends(may_write)], responses=problems(400, 409, 413, 422, 503, 507)
)
def delete_many(items: ItemsOut, service: Served) -> Counted:
    """Remove items for good. Tells how many there were."""
    _check_number(len(items.item_ids), service)
    return Counted(items=service.up.delete(items.item_ids))


@router.get(
    "/{item_id:any_text}", dependencies=[Depends(may_read)], responses=problems(404, 422, 503)
)
def look(item_id: str, service: Served) -> Item:
    """Tell what is known of an item: its side, its version, its metadata."""
    (state,) = service.gallery.get([item_id])
    if state is None:
        raise HTTPException(404, "there is no item of this id")
    return Item(
        item_id=item_id,
        side=made_by(state.space, state.origin, service.plan.new_model),
        model=state.space.fingerprint,
        made_by=state.origin,
        version=state.version,
        metadata=dict(state.metadata),
    )


@router.delete(
    "/{item_id:any_text}", dependencies=[Depends(may_write)], responses=problems(409, 422, 503, 507)
)
def delete(item_id: str, service: Served) -> Counted:
    """Remove an item for good. Idempotent."""
    return Counted(items=service.up.delete([item_id]))


def _check_number(n_items: int, service: Served) -> None:
    if n_items > service.settings.max_items:
        raise InputError(f"at most {service.settings.max_items} items a call, got {n_items}")
