"""Customers' objectives in OpenSLO v1 (https://github.com/OpenSLO/OpenSLO): text in, objectives out.

One document per SLO; documents are separated by `---`. The indicator is a ratio of bad to total events whose source
is Dipper itself, written into the SLO or referred to by the name of an SLI document of the same text:

    apiVersion: openslo/v1
    kind: SLO
    metadata: {name: acme-vod-slow}
    spec:
      service: vod
      budgetingMethod: Occurrences
      indicator:
        metadata: {name: acme-vod-slow}
        spec:
          ratioMetric:
            counter: true
            bad:
              metricSource: {type: dipper, spec: {customer: acme, measure: slow_requests, threshold: 400}}
            total:
              metricSource: {type: dipper, spec: {customer: acme}}
      objectives:
        - target: 0.985

`threshold`: ms for slow_requests, kB/s for low_throughput, left out otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from contracts.auth import check_id
from contracts.entities import Objective
from contracts.errors import ContractError

API_VERSION = "openslo/v1"
SOURCE = "dipper"
MAX_CHARS = 1_000_000
_NOTHING_FOR_US = ("Service", "DataSource")
"""Kinds that may stand beside the SLOs: what they say is known here already."""


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Objectives of all SLO documents, in their order.

    Raises ContractError: `bad_openslo` with a path such as `document 2: spec.objectives[0].target`, or what Objective
    itself refuses. Anything that would be ignored silently is refused: anchors, repeated keys, alert policies (the
    detector's rules are Dipper's own), more than one objective per SLO, other budgeting methods.
    """
    if len(text) > MAX_CHARS:
        raise ContractError("bad_openslo", "text", f"at most {MAX_CHARS} characters", len(text))
    documents = [_Node(f"document {n}", document) for n, document in enumerate(_load(text), 1) if document is not None]
    indicators: dict[str, _Node] = {}
    objectives = []
    slos = []
    for document in documents:
        document.one_of("apiVersion", (API_VERSION,))
        kind = document.one_of("kind", ("SLO", "SLI", *_NOTHING_FOR_US))
        if kind == "SLI":
            name = document.child("metadata").text("name")
            if name in indicators:
                raise document.child("metadata").wrong("name", "a name no other SLI of this text has", name)
            indicators[name] = document.child("spec")
        elif kind == "SLO":
            slos.append(document)
    seen: dict[tuple[str, str, str], str] = {}
    for slo in slos:
        objective = _objective(slo, indicators)
        key = objective.customer, objective.service, objective.measure
        if key in seen:
            raise ContractError("bad_openslo", slo.path, f"another measure than {seen[key]} has", " ".join(key))
        seen[key] = slo.path
        objectives.append(objective)
    return tuple(objectives)


def _objective(slo: _Node, indicators: Mapping[str, _Node]) -> Objective:
    slo.child("metadata").text("name")
    spec = slo.child("spec")
    spec.one_of("budgetingMethod", ("Occurrences",))
    for refused in ("alertPolicies", "timeWindow"):
        if refused in spec.fields:
            raise spec.wrong(refused, "to be left out: rules and windows are Dipper's own", spec.fields[refused])
    source = _source(_indicator(spec, indicators))
    unknown = sorted(set(source.fields) - {"customer", "measure", "threshold"}, key=str)
    if unknown:
        raise source.wrong(str(unknown[0]), "customer, measure or threshold", unknown[0])
    threshold = None if source.fields.get("threshold") is None else source.number("threshold")
    return Objective(
        customer=check_id(f"{source.path}.customer", source.text("customer")),
        service=check_id(f"{spec.path}.service", spec.text("service")),
        measure=source.text("measure"),
        target=_target(spec),
        threshold=threshold,
    )


def _indicator(spec: _Node, indicators: Mapping[str, _Node]) -> _Node:
    """The SLI's own spec."""
    if ("indicator" in spec.fields) == ("indicatorRef" in spec.fields):
        raise spec.wrong("indicator", "either indicator or indicatorRef", sorted(spec.fields, key=str))
    if "indicator" in spec.fields:
        return spec.child("indicator").child("spec")
    return indicators[spec.one_of("indicatorRef", tuple(indicators))]


def _source(indicator: _Node) -> _Node:
    """What Dipper is asked to count as bad."""
    ratio = indicator.child("ratioMetric")
    for refused in ("good", "raw", "rawType"):
        if refused in ratio.fields:
            raise ratio.wrong(refused, "bad and total only", ratio.fields[refused])
    sources = {part: ratio.child(part).child("metricSource") for part in ("bad", "total")}
    for source in sources.values():
        source.one_of("type", (SOURCE,))
    bad = sources["bad"].child("spec")
    if "spec" in sources["total"].fields:
        total = sources["total"].child("spec")
        for name in total.fields:
            if name not in bad.fields or total.fields[name] != bad.fields[name]:
                raise total.wrong(str(name), "what bad says, the total is that of the measure", total.fields[name])
    return bad


def _target(spec: _Node) -> float:
    listed = spec.fields.get("objectives")
    if not isinstance(listed, list) or len(listed) != 1:
        raise spec.wrong("objectives", "a list of exactly one objective", listed)
    objective = _Node(f"{spec.path}.objectives[0]", listed[0])
    for refused in ("op", "value", "timeSliceTarget", "timeSliceWindow"):
        if refused in objective.fields:
            raise objective.wrong(refused, "to be left out for a ratio of occurrences", objective.fields[refused])
    if ("target" in objective.fields) == ("targetPercent" in objective.fields):
        raise objective.wrong("target", "either target or targetPercent", sorted(objective.fields, key=str))
    name = "target" if "target" in objective.fields else "targetPercent"
    most = 1 if name == "target" else 100
    target = objective.number(name)
    if not 0 < target < most:
        raise objective.wrong(name, f"above 0 and below {most}", objective.fields[name])
    return target if most == 1 else round(target / 100, 12)


class _Node:
    """A mapping of the text, which knows where it stands."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ContractError("bad_openslo", path, "a mapping", value)
        self.path = path
        self.fields: dict[Any, Any] = value

    def _at(self, name: str) -> str:
        return f"{self.path}{'.' if ': ' in self.path else ': '}{name}"

    def child(self, name: str) -> _Node:
        return _Node(self._at(name), self.fields.get(name))

    def wrong(self, name: str, expected: str, got: object) -> ContractError:
        return ContractError("bad_openslo", self._at(name), expected, got)

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text", value)
        return value

    def number(self, name: str) -> float:
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number", value)
        return float(value)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.fields.get(name)
        if value not in allowed:
            raise self.wrong(name, f"one of {', '.join(allowed) or '(none there)'}", value)
        return str(value)


class _Loader(yaml.SafeLoader):
    """Plain data only: no tags, no anchors (they can grow without bound), no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not used here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem="expected each key once, as a plain text", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(text: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_Loader))  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "text"
        raise ContractError("bad_openslo", where, "YAML", error.problem or str(error)) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ContractError("bad_openslo", "text", "YAML", str(error).splitlines()[0]) from None
