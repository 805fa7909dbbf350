"""Pacer, clock, vitals, metrics: small parts, each with its facts."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agent_exporter.agent import MAX_MISSED_INTERVALS, Log, Pacer
from agent_exporter.clock import Clock
from agent_exporter.metrics import Metric, MetricsServer, render
from agent_exporter.vitals import Vitals
from contracts.columns import VITALS_MEASURES
from tests.agent_exporter.builders import T0


def test_interval_is_due_a_moment_after_its_end() -> None:
    pacer = Pacer(10_000, T0 + 3_000)
    assert pacer.due(T0 + 10_100) == []
    assert pacer.due(T0 + 10_250) == [T0 + 10_000]
    assert pacer.due(T0 + 10_300) == []


def test_short_pause_is_caught_up_interval_by_interval() -> None:
    pacer = Pacer(10_000, T0)
    assert pacer.due(T0 + 41_000) == [T0 + 10_000, T0 + 20_000, T0 + 30_000, T0 + 40_000]


def test_long_pause_stays_silent_and_the_newest_interval_is_reported() -> None:
    pacer = Pacer(10_000, T0)
    later = T0 + (MAX_MISSED_INTERVALS + 10) * 10_000 + 5_000
    assert pacer.due(later) == [later - 5_000]


def test_clock_set_back_does_not_silence_the_agent() -> None:
    pacer = Pacer(1_000, T0 + 3_600_000)
    assert pacer.due(T0 + 500) == [T0]
    assert pacer.due(T0 + 1_500) == [T0 + 1_000]


@pytest.mark.parametrize("interval_ms", [1_000, 2_000, 5_000, 10_000])
def test_wait_ends_when_the_next_interval_is_due(interval_ms: int) -> None:
    pacer, now = Pacer(interval_ms, T0), T0
    ends: list[int] = []
    while len(ends) < 3:
        now += round(pacer.wait_s(now) * 1000)
        ends += pacer.due(now)
    assert ends == [T0 + interval_ms * n for n in (1, 2, 3)]
    assert now < ends[-1] + 1_000


def test_small_clock_errors_are_left_to_the_gateway() -> None:
    clock = Clock(lambda: T0)
    clock.learn(T0 + 200_000, T0 - 10, T0 + 10)
    assert clock.offset_ms == 200_000
    assert not clock.correct()
    assert clock.now() == T0


def test_correction_is_whole_grid_steps() -> None:
    clock = Clock(lambda: T0)
    clock.learn(T0 - 3_604_000, T0, T0)
    assert clock.correct()
    assert clock.now() == T0 - 3_600_000
    assert not clock.correct()


def proc_tree(root: Path) -> None:
    files = {
        "proc/stat": "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1\n",
        "proc/loadavg": "0.52 0.4 0.3 1/100 77\n",
        "proc/meminfo": "MemTotal:      500000 kB\nMemFree: 1 kB\nMemAvailable:  125000 kB\n",
        "proc/net/dev": "Inter-| x\n face | y\n"
        "    lo: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0\n  eth0: 1000 0 0 0 0 0 0 0 5000 0 0 0 0 0 0 0\n",
        "proc/uptime": "3600.5 1.0\n",
        "proc/sys/kernel/random/boot_id": "abc\n",
        "sys/block/mmcblk0/device/x": "",
        "sys/block/mmcblk0/stat": "1 2 3 4 5 6 700 8 9 10 11\n",
        "sys/block/loop0/stat": "1 2 3 4 5 6 999 8 9 10 11\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "55500\n",
        "sys/class/thermal/thermal_zone2/temp": "invalid\n",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_vitals_come_from_proc_and_sys(tmp_path: Path) -> None:
    proc_tree(tmp_path)
    now = [0.0]
    vitals = Vitals("/", lambda: now[0], tmp_path)
    first = vitals.read()
    assert first.keys() == {"load1", "memory_used_ratio", "flash_used_ratio", "temperature_c", "uptime_s"}
    assert (first["memory_used_ratio"], first["temperature_c"], first["uptime_s"]) == (0.75, 55.5, 3600.5)
    (tmp_path / "proc/stat").write_text("cpu  160 0 70 880 90 0 0 0 0 0\n")
    (tmp_path / "proc/net/dev").write_text("a\nb\n  eth0: 21000 0 0 0 0 0 0 0 105000 0 0 0 0 0 0 0\n")
    (tmp_path / "sys/block/mmcblk0/stat").write_text("1 2 3 4 5 6 900 8 9 10 11\n")
    now[0] = 10_000.0
    second = vitals.read()
    assert second["cpu_ratio"] == 0.4  # 80 busy of 200 ticks; waiting for the disk is not busy
    assert second["flash_written_bytes"] == 200 * 512
    assert (second["rx_bytes_per_s"], second["tx_bytes_per_s"]) == (2000.0, 10_000.0)
    assert vitals.boot_id() == "abc"
    assert second.keys() <= {c.name for c in VITALS_MEASURES}


def test_counter_that_went_backwards_has_no_rate(tmp_path: Path) -> None:
    proc_tree(tmp_path)
    now = [0.0]
    vitals = Vitals("/", lambda: now[0], tmp_path)
    vitals.read()
    (tmp_path / "proc/net/dev").write_text("a\nb\n  eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")
    now[0] = 10_000.0
    assert "rx_bytes_per_s" not in vitals.read()


def test_box_without_proc_and_sys_states_nothing(tmp_path: Path) -> None:
    vitals = Vitals(str(tmp_path / "none"), lambda: 0.0, tmp_path / "none")
    assert vitals.read() == {}
    assert vitals.boot_id() == ""


def test_metrics_are_openmetrics_text() -> None:
    found = [
        Metric("a_lines", "counter", "Lines.", {"": 3}),
        Metric("a_drops", "counter", "By cause.", {'x"y': 2}, "cause"),
        Metric("a_age_seconds", "gauge", "Age.", {"": 1.5}),
    ]
    assert render(found) == (
        "# TYPE a_lines counter\n# HELP a_lines Lines.\na_lines_total 3\n"
        '# TYPE a_drops counter\n# HELP a_drops By cause.\na_drops_total{cause="x\\"y"} 2\n'
        "# TYPE a_age_seconds gauge\n# HELP a_age_seconds Age.\na_age_seconds 1.5\n# EOF\n"
    )


def test_metrics_are_served_on_loopback() -> None:
    server = MetricsServer(0, lambda: [Metric("a", "gauge", "A.", {"": 1})])
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text")
            assert response.read().endswith(b"# EOF\n")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/other")
    finally:
        server.close()


def test_same_sentence_is_logged_once_in_ten_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    log = Log(lambda: now[0])
    log("a")
    log("a")
    log("b")
    now[0] = 601.0
    log("a")
    assert capsys.readouterr().err == "dipper-agent: a\ndipper-agent: b\ndipper-agent: a\n"
