"""A loaded machine is no failure: hypothesis does not time the tests."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
