"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# A loaded machine must not fail a test, so examples have no deadline. On a laptop every run tries
# new ones. In CI the same commit gets the same examples each time, so that a red run can be told
# from an unlucky one; what a laptop finds becomes a test of its own.
settings.register_profile("laptop", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")
