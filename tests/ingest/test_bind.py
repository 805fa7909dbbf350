"""Where a process may listen."""

import pytest

from ingest.bind import BindRefused, Door, check_bind

OPEN = Door("pages", False, "set a password for them")
SHUT = Door("telemetry", True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_is_always_allowed(host):
    check_bind(host, [OPEN, SHUT])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.example.org", "*"])
def test_other_addresses_need_every_door_shut(host):
    with pytest.raises(BindRefused, match="pages: set a password for them") as refused:
        check_bind(host, [SHUT, OPEN])
    assert "telemetry" not in str(refused.value)
    check_bind(host, [SHUT])
