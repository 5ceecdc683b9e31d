"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# On a laptop every run tries new examples. In CI the same commit gets the same examples each time,
# so that a red run can be told from an unlucky one; what a laptop finds becomes a test of its own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
