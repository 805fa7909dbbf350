"""Property tests must not fail for being slow: machines are shared. In CI they draw the same examples every time, so
that a red run is a fault of the change at hand; elsewhere each run explores new ones."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.services.fixtures"]

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("house"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "house")

TESTS = Path(__file__).parent
# They open the embedded engine, of which a process has one at a time; in the order of collection each closes its own.
ONE_ENGINE = ("dashboards", "dipper", "feed", "history")


def pytest_collection_modifyitems(items):
    """Where tests run in several processes (`-n 2 --dist loadgroup`): those of a file in one of them, and all that open
    the embedded engine as well."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        item.add_marker(pytest.mark.xdist_group("engine" if folder in ONE_ENGINE else str(item.path)))
