"""Settings of the property tests: the same examples in every run, so that a failure is never a matter of luck.

To search among new examples: ``python -m pytest --hypothesis-profile=search``.
"""

from hypothesis import settings

settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("repeat")
