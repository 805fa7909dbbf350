"""Sparklines, the chart and colours."""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import plotly.graph_objects as go
import pytest

import dashboards
from dashboards import customer, markup, style
from dashboards.figures import customer_figure
from dashboards.style import DARK, LIGHT, Palette
from tests.dashboards.synthetic import NOW, SyntheticBackend, make_customer, make_lens, make_steps

DAY = 86_400_000


def test_a_sparkline_breaks_at_gaps_and_marks_them() -> None:
    steps = make_steps([100, 100, 0, 100, 50], [1, 2, 0, 1, 1], [0, 0, 0, 0, 50.0])
    svg = markup.sparkline(steps, 0.01, below=True, label="a & b")
    assert svg.count("<polyline") == 2
    assert svg.count('class="gap"') == 1
    assert 'class="gap" style="left:40.00%;width:20.00%"' in svg
    assert 'class="thin" style="left:80.00%;width:20.00%"' in svg
    assert 'class="dot red"' in svg
    assert 'data-requests="100,100,0,100,50" data-failures="1,2,0,1,1" data-unmeasured="0,0,0,0,50"' in svg
    assert "a &amp; b" in svg


def test_a_calm_sparkline_has_its_objective_half_way_up() -> None:
    svg = markup.sparkline(make_steps([100, 100], [0, 0]), 0.01, below=False, label="")
    # 32 px high with the base at 31: twice the limit spans 29 px, so the limit is at 31 - 14.5.
    assert 'class="limit" x1="0" x2="1000" y1="16.5" y2="16.5"' in svg
    assert markup.sparkline(make_steps([0], [0]), None, below=False, label="").count("polyline") == 0
    assert "d-spark" in markup.sparkline(make_steps([], []), 0.01, below=False, label="")


def figure_of(customer_id: str = "c003", zone: str = "Asia/Shanghai", age_ms: int = 20_000):  # type: ignore[no-untyped-def]
    data = SyntheticBackend(age_ms=age_ms).customer(customer_id, None, NOW - DAY, NOW, 600_000)
    view = customer.customer_view(data, make_customer(customer_id, 0.995), None)
    lens = make_lens(zone=zone)
    return data, go.Figure(customer_figure(view, customer.titles(view, lens), lens))  # Plotly checks every property


def test_the_panels_share_one_time_axis_in_the_viewers_zone() -> None:
    data, figure = figure_of()
    lines = [t for t in figure.data if t.yaxis in ("y", "y2", "y3", "y4")]
    assert {t.xaxis for t in lines} == {None}  # the one axis x: zooming one panel zooms all
    assert len(lines) == 1 + 3 + 1 + 4
    first = datetime.fromisoformat(lines[0].x[0]).replace(tzinfo=ZoneInfo("Asia/Shanghai"))
    assert int(first.timestamp() * 1000) == data.steps.start[0]
    assert "Asia/Shanghai (UTC+8)" in figure.layout.xaxis.title.text
    for axis in ("yaxis", "yaxis2", "yaxis3", "yaxis4"):
        assert figure.layout[axis].title.text


def test_hover_carries_both_counts_beside_the_ratio() -> None:
    data, figure = figure_of()
    failing = next(t for t in figure.data if t.yaxis == "y")
    failures, requests = data.steps.failures[0], data.steps.requests[0]
    assert failing.y[0] == pytest.approx(100 * failures / requests)
    assert re.sub(r"\D", "", failing.customdata[0].split("(")[1]) == f"{failures}{requests}"


def test_unmeasured_spans_are_hatched_amber_and_empty_ones_grey() -> None:
    _, figure = figure_of("c003", age_ms=30 * 60_000)
    by_name = {t.name: t for t in figure.data if t.yaxis == "y5"}
    assert set(by_name) == {"no data", "less than 99% measured"}
    for trace in by_name.values():
        assert trace.fillpattern.shape == "/"
    assert by_name["less than 99% measured"].fillpattern.fgcolor.startswith("rgba(156,92,0")


def test_changes_and_the_objective_are_marked() -> None:
    data, figure = figure_of()
    hovers = [a.hovertext for a in figure.layout.annotations if a.hovertext]
    assert len(hovers) == len(data.markers) == 2
    assert any("wei" in h and "Roll out 2.3.1" in h for h in hovers)
    assert any(a.text == "objective 0.5%" for a in figure.layout.annotations)


def test_a_customer_without_any_data_still_has_a_chart() -> None:
    view = customer.CustomerView("x", customer.State.NO_TRAFFIC, None, None, customer.Sums(), 300_000,
                                 make_steps([0, 0], [0, 0]), ())  # fmt: skip
    lens = make_lens()
    figure = go.Figure(customer_figure(view, customer.titles(view, lens), lens))
    assert [t.name for t in figure.data if t.yaxis == "y5"] == ["no data"]


def luminance(colour: str) -> float:
    def linear(c: float) -> float:
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "muted", "red", "amber", "accent"])
def test_text_colours_contrast_at_least_4_5_to_1(colours: Palette, name: str) -> None:
    for ground in (colours.background, colours.panel):
        light, dark = sorted((luminance(getattr(colours, name)), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_frames_theme_and_the_pages_palette_agree() -> None:
    path = Path(dashboards.__file__).parent / ".streamlit" / "config.toml"
    theme = tomllib.loads(path.read_text(encoding="utf-8"))["theme"]
    for name, colours in (("light", LIGHT), ("dark", DARK)):
        frame = theme[name]
        assert frame["primaryColor"] == colours.accent
        assert frame["backgroundColor"] == colours.background
        assert frame["secondaryBackgroundColor"] == colours.panel
        assert frame["textColor"] == colours.text
        assert frame["borderColor"] == colours.line
    assert theme["font"].replace("'", "").split(", ") == style.FONT.replace("'", "").split(", ")


def test_the_sheet_defines_every_variable_it_uses() -> None:
    for colours in (LIGHT, DARK):
        sheet = style.sheet(colours, "away")
        assert set(re.findall(r"var\((--d-[\w-]+)\)", sheet)) <= set(re.findall(r"(--d-[\w-]+):", sheet))
    assert style.palette("dark") is DARK
    assert style.palette(None) is LIGHT


def test_nothing_is_fetched_from_elsewhere() -> None:
    folder = Path(dashboards.__file__).parent
    for path in (*folder.glob("*.js"), *folder.glob("*.css"), *folder.glob(".streamlit/*")):
        assert not re.search(r"https?://|@import|//cdn", path.read_text(encoding="utf-8")), path.name
