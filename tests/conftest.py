"""Property tests must not fail for being slow: machines are shared. In CI they draw the same examples every time, so
that a red run is a fault of the change at hand; elsewhere each run explores new ones."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.services.fixtures"]

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("house"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")
