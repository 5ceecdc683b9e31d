"""From a TOML file to objects: the only place where names in a file become code.

    folder = "upgrade"                 # the upgrade's own files; default: FILE.upgrade
    supersedes = "to-v2.toml"          # only in a chain: the unfinished upgrade to take over

    [store]                            # see `hotfill.stores.section`
    kind = "qdrant-edge"               # an embedded store on disk
    path = "gallery"

    [journal]                          # see `hotfill.upgrade.journal.section`
    kind = "sqlite"                    # in the folder above; "postgres" for many machines

    [source]
    factory = "my_module:open_source"  # called with `options`; gives content by item id; or
    # kind = "store"                   # the store itself keeps the contents, in a `field`

    [old]
    embedder = "my_module:old_model"   # called with `options`; gives an Embedder, or an embedding
                                       # model of LangChain or LlamaIndex

    [new]
    embedder = "my_module:new_model"
    encoder = "encoder.safetensors"    # only where its vectors are to be kept as binary codes;
                                       # then without an embedder: codes of the old vectors

    [upgrade]                          # everything of `hotfill.upgrade.plan.Plan`
    strategy = "prefill"

    [guard]                            # canaries are measured while the upgrade runs
    canary_items = 64                  # as queries; or canary_queries = "canaries.jsonl"

    [gate]                             # metric = required value; not met, the upgrade is held
    agreement = 0.8

    [limits]                           # probe name = highest value allowed
    [hooks]                            # moment = shell command
    [service]                          # of `hotfill serve`; see `hotfill.service.settings`

Paths are relative to the file. Factories are looked up as "module:name", in its folder first; in
their options "{here}" stands for the file's folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotfill.config.project import Project
from hotfill.config.reading import read
from hotfill.config.settings import FactorySection, ModelSection, Settings, StoredSection
from hotfill.upgrade.upgrade import Upgrade

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "FactorySection",
    "ModelSection",
    "Project",
    "Settings",
    "StoredSection",
    "open_upgrade",
    "read",
]


def open_upgrade(path: str | Path) -> Upgrade:
    """Open the upgrade of a configuration file; `hotfill.open`. Raises ConfigError.

    Nothing is opened or loaded before it is needed.
    """
    return Upgrade.of(read(path))
