"""The URL and the session: who wins when."""

from __future__ import annotations

from contracts.times import DAY_MS, MINUTE_MS
from dashboards.state import RANGES, parameters, read_url, write_url

CHOICES = {"range": list(RANGES), "customer": ["a", "b"], "service": ["", "video"], "lang": ["en", "zh"]}
DEFAULTS = {"range": "24h", "customer": "a", "service": "", "lang": "en"}


def test_an_address_sets_the_view_and_what_it_omits_is_default() -> None:
    session: dict[str, object] = {}
    read_url({"range": "1h", "customer": "b"}, session, CHOICES, DEFAULTS)
    assert {k: session[k] for k in DEFAULTS} == {"range": "1h", "customer": "b", "service": "", "lang": "en"}


def test_nonsense_in_the_address_means_the_default() -> None:
    session: dict[str, object] = {}
    read_url({"range": "1 year", "customer": "<script>", "lang": "tlh", "other": "x"}, session, CHOICES, DEFAULTS)
    assert {k: session[k] for k in DEFAULTS} == DEFAULTS


def test_a_control_wins_over_the_address_it_was_not_yet_written_to() -> None:
    query, session = {"range": "1h"}, {}
    read_url(query, session, CHOICES, DEFAULTS)
    session["range"] = "6h"  # the control was used
    read_url(query, session, CHOICES, DEFAULTS)
    assert session["range"] == "6h"
    write_url(query, session, DEFAULTS)
    assert query == {"range": "6h"}


def test_going_back_restores_and_is_not_undone() -> None:
    query, session = {"range": "24h", "customer": "b"}, {}
    read_url(query, session, CHOICES, DEFAULTS)
    write_url(query, session, DEFAULTS)
    assert query == {"range": "24h", "customer": "b"}  # an explicit default is left alone
    earlier: dict[str, str] = {}
    read_url(earlier, session, CHOICES, DEFAULTS)
    write_url(earlier, session, DEFAULTS)
    assert session["customer"] == "a"
    assert earlier == {}


def test_a_value_back_at_default_replaces_what_the_address_says() -> None:
    query, session = {"service": "video", "lang": "zh"}, {}
    read_url(query, session, CHOICES, DEFAULTS)
    session.update(service="", lang="en")
    write_url(query, session, DEFAULTS)
    assert query == {"lang": "en"}


def test_links_carry_only_what_is_not_default() -> None:
    session = {"range": "7d", "customer": "a", "service": "", "lang": "zh"}
    assert parameters(session, DEFAULTS) == {"range": "7d", "lang": "zh"}


def test_ranges_start_on_the_grid_of_their_steps_and_end_in_the_running_minute() -> None:
    now = 1_773_316_999_999
    for choice in RANGES.values():
        start, end = choice.bounds(now)
        assert start % choice.step_ms == 0
        assert end == now - now % MINUTE_MS
        assert choice.length_ms <= end - start < choice.length_ms + choice.step_ms
        assert choice.length_ms // choice.step_ms <= 168
    assert RANGES["24h"].length_ms == DAY_MS
