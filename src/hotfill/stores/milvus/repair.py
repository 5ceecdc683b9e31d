"""What a process that was killed may have left: items on two sides. The later row counts."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotfill.stores.milvus.server import Server
    from hotfill.stores.milvus.stamp import Stamp

_PAGE = 1000
_MARGIN_NS = 120 * 10**9  # before the last sign of life: much longer than anything stays pending


def one_side_each(server: Server, stamp: Stamp, last_beat: float) -> int:
    """Remove the earlier row of items that have two. Returns how many had.

    An acknowledged move wrote the row on the new side, so that it is the later one; nothing that
    was acknowledged is undone. Only rows from shortly before the last holder's last sign of life on
    are looked at: older ones were settled long before.
    """
    for space in stamp.spaces:
        server.wait(space)
    since = max(0, int(last_beat * 1e9) - _MARGIN_NS)
    fixed = 0
    for one, other in combinations(stamp.spaces, 2):
        # Of an item with two rows the later is in the newer space after a move forward, in the
        # older one after a move back.
        for here, there in ((one, other), (other, one)):
            field = "hotfill_since" if here.adopted else "since"
            after: str | None = None
            while rows := server.page(here, after, _PAGE, f"{field} >= {since}"):
                twins = server.read(there, [row.item_id for row in rows])
                gone = [
                    row.item_id
                    for row in rows
                    if row.item_id in twins and twins[row.item_id].since < row.since
                ]
                server.remove(there, gone)
                fixed += len(gone)
                after = rows[-1].item_id
            server.wait(there)
    return fixed
