"""How fast a decision is says nothing on a busy machine: no deadlines in property tests."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
