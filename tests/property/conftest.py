"""How hard hypothesis searches: modest on every run, the same examples on every CI run."""

import os

from hypothesis import settings

# A shared machine may stall any single example, so no example has a deadline.
settings.register_profile("ndlambda", deadline=None, max_examples=60)
settings.register_profile("ndlambda-ci", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("ndlambda-ci" if os.environ.get("CI") else "ndlambda")
