"""An incident in words: headline, combinations, how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.incidents import (
    QUALITY,
    RESOLVED,
    SELF_LAG,
    SILENCE_AGENT,
    SILENCE_BOX,
    SILENCE_REGION,
    SILENCE_UPLINK,
    Incident,
    Sentence,
)
from dashboards import format as fmt
from dashboards.lens import Lens

Names = Mapping[str, str]
NAMED_KINDS = (SILENCE_BOX, SILENCE_UPLINK, SILENCE_AGENT, SILENCE_REGION, SELF_LAG)


def where_text(where: Mapping[str, str], lens: Lens, names: Names) -> str:
    """A combination as people read it: client ISP = China Unicom, firmware = 2.3.1."""
    parts = [f"{lens.words(f'dim.{d}')} = {names.get(v, v) if d == 'customer' else v}" for d, v in where.items()]
    return ", ".join(parts) or lens.words("explore.all")


def customers_text(customers: Sequence[str], lens: Lens, names: Names) -> str:
    """One or two names, or the first and how many more."""
    named = [names.get(c, c) for c in customers]
    if len(named) <= 2:
        return ", ".join(named) or lens.words("explore.all")
    return lens.words("headline.customers", name=named[0], n=len(named) - 1)


def headline(sentence: Sentence, lens: Lens, names: Names) -> str:
    """The sentence in the viewer's language."""
    said: dict[str, Any] = {}
    for name, value in sentence.params.items():
        if name == "customers":
            said[name] = customers_text(value, lens, names)  # type: ignore[arg-type]
        elif name == "measures":
            said[name] = ", ".join(_inside(lens.words(f"measure.{m}"), lens) for m in value)  # type: ignore[union-attr]
        elif name == "where":
            said[name] = where_text(value, lens, names)  # type: ignore[arg-type]
        elif name == "since":
            said[name] = lens.clock(int(value))  # type: ignore[arg-type]
        elif name in ("share", "used", "allowed"):
            said[name] = fmt.promise(float(value))  # type: ignore[arg-type]
        elif name == "factor":
            said[name] = f"{float(value):.2g}"  # type: ignore[arg-type]
        elif name == "lag_s":
            said["lag"] = lens.span(float(value) * 1000)  # type: ignore[arg-type]
        elif name != "causes":
            said[name] = value
    text = lens.words(f"headline.{sentence.key}", n=said.get("boxes"), **said)
    causes = sentence.params.get("causes", 1)
    if isinstance(causes, int) and causes > 1:
        text += lens.words("sentence.join") + lens.words("headline.more_causes", n=causes)
    return text


def _inside(name: str, lens: Lens) -> str:
    """A name within an English sentence."""
    return name[:1].lower() + name[1:] if lens.words.language == "en" else name


def state_text(incident: Incident, lens: Lens) -> str:
    """Its state, with until when it is muted."""
    if incident.merged_into:
        return lens.words("triage.merged", other=incident.merged_into)
    if incident.muted_until is not None and incident.state == "muted":
        return lens.words("incident.state.muted", until=lens.clock(incident.muted_until))
    return lens.words(f"incident.state.{incident.state}")


def boxes_text(devices: Sequence[str], lens: Lens) -> str:
    """One or two boxes by name, or the first and how many more."""
    if len(devices) <= 2:
        return ", ".join(devices)
    return lens.words("headline.customers", name=devices[0], n=len(devices) - 1)


def kind_text(incident: Incident, lens: Lens) -> str:
    """What it is about, in a word."""
    if incident.kind in NAMED_KINDS:
        return lens.words(f"data.kind.{incident.kind}")
    return lens.words(f"incident.kind.{incident.kind.partition('.')[0]}")


def cause_text(incident: Incident, lens: Lens, names: Names) -> str:
    """The best cause, or why there is none."""
    if incident.causes and incident.verdict == "localised":
        return where_text(incident.causes[0].where, lens, names)
    if incident.kind == QUALITY:
        return lens.words(f"incident.verdict.{incident.verdict}")
    return where_text(incident.where, lens, names) if incident.where else ""


def ended_text(incident: Incident, lens: Lens, names: Names) -> str:
    """How it ended."""
    w = lens.words
    if incident.false_alarm:
        return w("triage.ended.false_alarm")
    if incident.real_cause:
        return w("triage.ended.real_cause", where=where_text(incident.real_cause, lens, names))
    if incident.state == RESOLVED and incident.resolved_at is not None:
        return w("triage.ended.resolved", span=lens.span(incident.resolved_at - incident.onset))
    return w("triage.ended.active")
