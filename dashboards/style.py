"""Colours, chart template and style sheet. One accent; red only for "below objective now", amber only for
"unmeasured or late", grey hatching for no data; green for nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FONT = (
    "Inter, 'Segoe UI', 'Helvetica Neue', 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC',"
    " 'Noto Sans SC', 'DejaVu Sans', sans-serif"
)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one theme, CSS hex."""

    dark: bool
    background: str
    panel: str
    text: str
    muted: str
    faint: str
    line: str
    grid: str
    accent: str
    accent_2: str
    accent_3: str
    red: str
    amber: str


LIGHT = Palette(
    dark=False,
    background="#fcfcfb",
    panel="#f3f4f3",
    text="#1c2126",
    muted="#5b646c",
    faint="#8a939b",
    line="#dfe2e4",
    grid="#eceeef",
    accent="#1f5fbf",
    accent_2="#7ea6de",
    accent_3="#c3d6f0",
    red="#c22a2a",
    amber="#9c5c00",
)
DARK = Palette(
    dark=True,
    background="#14171a",
    panel="#1d2125",
    text="#e4e7ea",
    muted="#a0a9b1",
    faint="#737c84",
    line="#30363b",
    grid="#23282c",
    accent="#6ea6f5",
    accent_2="#3f6ba8",
    accent_3="#28456e",
    red="#ff7468",
    amber="#e3a63a",
)


def palette(theme: str | None) -> Palette:
    """The palette of "light" or "dark"; light for anything else."""
    return DARK if theme == "dark" else LIGHT


def alpha(colour: str, opacity: float) -> str:
    """A hex colour as rgba()."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity})"


def sheet(colours: Palette, offline: str) -> str:
    """The style sheet with a theme's colours as variables. `offline`: what the page says while its server is away."""
    names = ("background", "panel", "text", "muted", "faint", "line", "grid", "accent", "accent_2", "accent_3")
    variables = "".join(f"--d-{n.replace('_', '-')}:{getattr(colours, n)};" for n in (*names, "red", "amber"))
    quoted = offline.replace("\\", "").replace('"', "")
    variables += f'--d-offline:"{quoted}";'
    hatch = alpha(colours.faint, 0.3)
    variables += f"--d-hatch:repeating-linear-gradient(135deg,{hatch} 0 1px,transparent 1px 6px);"
    variables += f"--d-amber-soft:{alpha(colours.amber, 0.16)};--d-red-soft:{alpha(colours.red, 0.12)};"
    return f"<style>:root{{{variables}--d-font:{FONT};}}\n{_CSS}</style>"


_CSS = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
