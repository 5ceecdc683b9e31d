"""The suite that hotfill gives to stores of others, on its own."""

from hotfill.testing.suite import *  # noqa: F403
