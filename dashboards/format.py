"""Figures, spans and times as people read them. Pure; the language is an argument ("en" or "zh").

Three significant digits, thin spaces in thousands, percent only here. None is "no data" and drawn by the caller's
catalogue, so every function takes a number that exists.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

THIN = "\u2009"
MINUS = "\u2212"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALES = {
    "en": ((1e9, "G"), (1e6, "M"), (1e3, "k")),
    "zh": ((1e8, "亿"), (1e4, "万")),
}
_COMPACT_FROM = 10_000
_SPANS = {
    "en": ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")),
    "zh": ((86_400, "天"), (3_600, "小时"), (60, "分钟"), (1, "秒")),
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def significant(value: float, digits: int = 3) -> str:
    """A number in plain notation with that many significant digits; thousands in thin spaces; a true minus."""
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))  # 9.996 rounds up into the next decade
    decimals = max(0, digits - 1 - exponent)
    return grouped(rounded, decimals)


def grouped(value: float, decimals: int = 0) -> str:
    """A number with exactly so many decimals; thousands in thin spaces; a true minus."""
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def count(value: int) -> str:
    """An exact count."""
    return grouped(value)


def compact(value: float, language: str = "en") -> str:
    """A quantity at three significant digits, scaled from 10 000 on: 9 870, 12.3 k, 4.56 M; in Chinese 1.23 万."""
    if abs(value) >= _COMPACT_FROM:
        for scale, suffix in _SCALES[language]:
            if abs(value) >= scale:
                return f"{significant(value / scale)}{THIN}{suffix}"
    return significant(value)


def percent(ratio: float) -> str:
    """A ratio 0..1 in percent. Above 90% it is cut, never rounded up: 100% means all, and 98.96% is not yet 99%."""
    if 0.9 < ratio < 1:
        decimals = 2 if ratio >= 0.99 else 1
        scale = 10 ** (2 + decimals)
        return f"{math.floor(ratio * scale + 1e-9) / 10**decimals:.{decimals}f}%"
    if 0 < ratio < 1e-7:
        return "<0.00001%"
    return f"{significant(ratio * 100)}%"


def promise(limit: float) -> str:
    """A promised ratio in percent, without the zeros that only measured figures need: 0.1%."""
    text = percent(limit)[:-1]
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "%"


def points(difference: float) -> str:
    """A difference of ratios in percentage points, signed, without the unit's word."""
    value = significant(difference * 100, 2)
    return value if difference <= 0 else f"+{value}"


def milliseconds(value: float) -> str:
    """A latency: 84.3 ms, 1.24 s, 312 s."""
    return f"{significant(value)}{THIN}ms" if value < 1000 else f"{significant(value / 1000)}{THIN}s"


def span(length_ms: float, language: str = "en") -> str:
    """A length of time in its largest whole unit, seconds to days: 12 s, 4 min, 2 h, 3 d."""
    seconds = max(0, int(length_ms // 1000))
    for size, unit in _SPANS[language]:
        if seconds >= size:
            return f"{seconds // size}{THIN}{unit}"
    return f"0{THIN}{_SPANS[language][-1][1]}"


def local(time_ms: int, zone: ZoneInfo) -> datetime:
    """The wall-clock time of a zone at a moment, without the zone: what an axis or a table shows."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone).replace(tzinfo=None)


def clock(time_ms: int, zone: ZoneInfo, now_ms: int, language: str = "en", *, seconds: bool = False) -> str:
    """20:03 today, 12 Mar 20:03 otherwise, by the zone's clock."""
    moment, today = local(time_ms, zone), local(now_ms, zone)
    text = f"{moment:%H:%M:%S}" if seconds else f"{moment:%H:%M}"
    if moment.date() == today.date():
        return text
    date = f"{moment.month}月{moment.day}日" if language == "zh" else f"{moment.day} {_MONTHS[moment.month - 1]}"
    return f"{date} {text}" if moment.year == today.year else f"{moment.year}-{moment:%m-%d} {text}"


def zone_name(zone: ZoneInfo, at_ms: int) -> str:
    """A zone and its offset at a moment: Europe/Berlin (UTC+2), Asia/Kolkata (UTC+5:30), UTC."""
    offset = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset() or timedelta()
    minutes = int(offset.total_seconds() // 60)
    if zone.key == "UTC":
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    sign = MINUS if minutes < 0 else "+"
    return f"{zone.key} (UTC{sign}{hours}{f':{rest:02d}' if rest else ''})"
