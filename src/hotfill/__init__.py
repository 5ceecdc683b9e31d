"""hotfill upgrades the embedding model behind a live gallery.

Importing this package loads the standard library and numpy only.
"""

from hotfill._version import __version__
from hotfill.types import Embedder, ModelId, Source, Transform

__all__ = ["Embedder", "ModelId", "Source", "Transform", "__version__"]
