"""The pieces that run in the browser: the strip of customers, what can be clicked, the theme's switch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.messages import Words

THEMES = ("System", "Light", "Dark")
_HERE = Path(__file__).parent


def _component(name: str) -> Any:
    script = (_HERE / f"{name}.js").read_text(encoding="utf-8")
    return st.components.v2.component(f"dipper_{name}", js=script, isolate_styles=False)


def strip(markup: str, words: Words, zone: str) -> str | None:
    """Draw the strip; returns the id of the customer that was just clicked. `markup` must be escaped already."""
    data = {
        "markup": markup,
        "zone": zone,
        "locale": "zh-CN" if words.language == "zh" else "en-GB",
        "words": {
            "no_data": words("no_data"),
            "counts": words.template("hover.counts"),
            "covered": words.template("covered"),
        },
    }
    opened = _component("strip")(key="strip", data=data, on_opened_change=lambda: None).opened
    return str(opened) if opened else None


def theme_switch(words: Words, paths: list[str]) -> None:
    """Draw the theme's switch for all pages at `paths`."""
    themes = [[theme, words(f"theme.{theme}")] for theme in THEMES]
    _component("theme")(key="theme", data={"label": words("control.theme"), "themes": themes, "paths": paths})


def clicks(markup: str, key: str) -> str | None:
    """Draw markup (escaped already) whose elements with data-pick can be clicked; returns what was just picked."""
    picked = _component("clicks")(key=key, data={"markup": markup}, on_picked_change=lambda: None).picked
    return str(picked) if picked else None
