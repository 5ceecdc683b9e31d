"""A plugin of pytest that hides packages: `HIDDEN=torch,faiss pytest -p tests.architecture.hidden`.

To a test that runs with it, they are not installed.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

HIDDEN = frozenset(filter(None, os.environ.get("HIDDEN", "").split(",")))


class Finder(PathFinder):
    """Finds what stands on the path, but not the hidden packages."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname.partition(".")[0] in HIDDEN:
            return None
        return super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
