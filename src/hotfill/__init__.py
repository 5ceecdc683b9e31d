"""hotfill upgrades the embedding model behind a live gallery.

    with hotfill.open("upgrade.toml") as up:
        up.start(background=True)
        up.search("red lamp", k=10)

Names are loaded when they are first used: importing this package loads numpy and the standard
library only.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hotfill._version import __version__
from hotfill.errors import HotfillError
from hotfill.types import Embedder, ModelId, Source, Transform

if TYPE_CHECKING:
    from hotfill.config import open_upgrade as open  # noqa: A004
    from hotfill.rehearsal.comparison import rehearse
    from hotfill.stores.memory import MemoryGallery
    from hotfill.upgrade.parts import Model
    from hotfill.upgrade.plan import Plan
    from hotfill.upgrade.status import Status
    from hotfill.upgrade.upgrade import Upgrade
    from hotfill.upgrade.view import Hit, SearchResult

_HOMES = {
    "Hit": "hotfill.upgrade.view:Hit",
    "MemoryGallery": "hotfill.stores.memory:MemoryGallery",
    "Model": "hotfill.upgrade.parts:Model",
    "Plan": "hotfill.upgrade.plan:Plan",
    "SearchResult": "hotfill.upgrade.view:SearchResult",
    "Status": "hotfill.upgrade.status:Status",
    "Upgrade": "hotfill.upgrade.upgrade:Upgrade",
    "open": "hotfill.config:open_upgrade",
    "rehearse": "hotfill.rehearsal.comparison:rehearse",
}

__all__ = [
    "Embedder",
    "Hit",
    "HotfillError",
    "MemoryGallery",
    "Model",
    "ModelId",
    "Plan",
    "SearchResult",
    "Source",
    "Status",
    "Transform",
    "Upgrade",
    "__version__",
    "open",
    "rehearse",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hotfill' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
