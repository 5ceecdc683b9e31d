"""What the parts of the demo must agree on."""

from pathlib import Path

K = 10
"""How many hits a search asks for."""

REPORT = Path("demo-report")
"""Where everything is left, below the current folder."""

HALFWAY = REPORT / "halfway"
"""A copy of the gallery as the kill left it, for `demo.page`."""
