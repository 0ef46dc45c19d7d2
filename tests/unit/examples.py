"""How many examples a property is tried with: few in each run, ten times as many in the long suite."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

ENV_TIMES = "JETFLEET_EXAMPLES_TIMES"
_TIMES = int(os.environ.get(ENV_TIMES, "1"))


def examples(count: int) -> settings:
    """Return the settings, a decorator too, of a property that ``count`` examples show well enough."""
    # No deadline: what an example takes depends on what else the machine does.
    return settings(max_examples=count * _TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


settings.register_profile("jetfleet", examples(50))
