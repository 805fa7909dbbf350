"""Vitals of the box from /proc and /sys. What a box does not have is left out, never guessed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

SECTOR_BYTES = 512  # /sys/block/*/stat counts in these, whatever the device's own sector


class Vitals:
    """Reads at most once per interval; rates are differences to the reading before, so the first has none.

    `root` stands before /proc and /sys. `now_ms` is a monotonic clock.
    """

    def __init__(self, cache_path: str, now_ms: Callable[[], float], root: Path = Path("/")) -> None:
        self._cache_path = cache_path
        self._now_ms = now_ms
        self._proc = root / "proc"
        self._sys = root / "sys"
        self._before: dict[str, float] = {}
        self._before_ms = 0.0

    def read(self) -> dict[str, float]:
        """Names of VITALS_MEASURES to numbers, without reboots and clock_offset_ms."""
        now_ms = self._now_ms()
        seconds = (now_ms - self._before_ms) / 1000
        counters: dict[str, float] = {}
        result: dict[str, float] = {}
        for reading in (self._cpu, self._disks, self._links):
            counters.update(_quietly(reading))
        for reading in (self._load, self._memory, self._flash, self._temperature, self._uptime):
            result.update(_quietly(reading))
        if self._before and seconds > 0:
            result.update(self._rates(counters, seconds))
        self._before, self._before_ms = counters, now_ms
        return {name: round(value, 4) for name, value in result.items()}

    def boot_id(self) -> str:
        """The kernel's id of this machine start; empty when it has none."""
        try:
            return self._text(self._proc / "sys/kernel/random/boot_id")
        except OSError:
            return ""

    def _rates(self, counters: dict[str, float], seconds: float) -> dict[str, float]:
        # A counter that went backwards was reset; there is no rate then.
        grown = {n: v - self._before[n] for n, v in counters.items() if n in self._before and v >= self._before[n]}
        rates: dict[str, float] = {}
        if grown.get("cpu_total"):
            rates["cpu_ratio"] = min(1.0, grown.get("cpu_busy", 0.0) / grown["cpu_total"])
        if "flash_written" in grown:
            rates["flash_written_bytes"] = grown["flash_written"]
        for name in ("rx", "tx"):
            if name in grown:
                rates[f"{name}_bytes_per_s"] = grown[name] / seconds
        return rates

    @staticmethod
    def _text(path: Path) -> str:
        return path.read_text(encoding="ascii", errors="replace").strip()

    def _cpu(self) -> dict[str, float]:
        # user nice system idle iowait irq softirq steal; guest time is already in user
        ticks = [float(v) for v in self._text(self._proc / "stat").splitlines()[0].split()[1:9]]
        return {"cpu_total": sum(ticks), "cpu_busy": sum(ticks) - ticks[3] - ticks[4]}

    def _disks(self) -> dict[str, float]:
        """Bytes written to devices that have hardware behind them: no loop, ram or mapped devices."""
        stats = [p / "stat" for p in (self._sys / "block").iterdir() if (p / "device").exists()]
        if not stats:
            return {}
        return {"flash_written": sum(float(self._text(p).split()[6]) * SECTOR_BYTES for p in stats)}

    def _links(self) -> dict[str, float]:
        received = sent = 0.0
        for line in self._text(self._proc / "net/dev").splitlines()[2:]:
            name, _, numbers = line.partition(":")
            if name.strip() != "lo":
                fields = numbers.split()
                received += float(fields[0])
                sent += float(fields[8])
        return {"rx": received, "tx": sent}

    def _load(self) -> dict[str, float]:
        return {"load1": float(self._text(self._proc / "loadavg").split()[0])}

    def _memory(self) -> dict[str, float]:
        lines = dict(line.split(":", 1) for line in self._text(self._proc / "meminfo").splitlines())
        total, available = (float(lines[n].split()[0]) for n in ("MemTotal", "MemAvailable"))
        return {"memory_used_ratio": 1 - available / total}

    def _flash(self) -> dict[str, float]:
        stat = os.statvfs(self._cache_path)
        return {"flash_used_ratio": 1 - stat.f_bavail / stat.f_blocks}

    def _temperature(self) -> dict[str, float]:
        readings = []
        for zone in (self._sys / "class/thermal").glob("thermal_zone*/temp"):
            try:
                readings.append(int(self._text(zone)) / 1000)  # the kernel states millidegrees
            except (OSError, ValueError):  # a zone that is switched off refuses to be read
                continue
        return {"temperature_c": max(readings)} if readings else {}

    def _uptime(self) -> dict[str, float]:
        return {"uptime_s": float(self._text(self._proc / "uptime").split()[0])}


def _quietly(reading: Callable[[], dict[str, float]]) -> dict[str, float]:
    try:
        return reading()
    except (OSError, ValueError, KeyError, IndexError, ZeroDivisionError):
        return {}
