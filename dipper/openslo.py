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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.auth import check_id
from contracts.entities import Objective
from contracts.errors import ContractError
from dipper.openslo_text import Node, documents

SOURCE = "dipper"
_NOTHING_FOR_US = ("Service", "DataSource")
"""Kinds that may stand beside the SLOs: what they say is known here already."""


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Objectives of all SLO documents, in their order.

    Raises ContractError: `bad_openslo` with a path such as `document 2: spec.objectives[0].target`, or what Objective
    itself refuses. Anything that would be ignored silently is refused: anchors, repeated keys, alert policies (the
    detector's rules are Dipper's own), more than one objective per SLO, other budgeting methods.
    """
    slos, indicators = slos_of(text)
    objectives = []
    seen: dict[tuple[str, str, str], str] = {}
    for slo in slos:
        objective = _objective(slo, indicators)
        key = objective.customer, objective.service, objective.measure
        if key in seen:
            raise ContractError("bad_openslo", slo.path, f"another measure than {seen[key]} has", " ".join(key))
        seen[key] = slo.path
        objectives.append(objective)
    return tuple(objectives)


def slos_of(text: str) -> tuple[list[Node], dict[str, Node]]:
    """The SLO documents of a text, and specs of its SLI documents by name. Raises ContractError `bad_openslo`."""
    slos: list[Node] = []
    indicators: dict[str, Node] = {}
    for document in documents(text):
        kind = document.one_of("kind", ("SLO", "SLI", *_NOTHING_FOR_US))
        if kind == "SLI":
            name = document.child("metadata").text("name")
            if name in indicators:
                raise document.child("metadata").wrong("name", "a name no other SLI of this text has", name)
            indicators[name] = document.child("spec")
        elif kind == "SLO":
            slos.append(document)
    return slos, indicators


def _objective(slo: Node, indicators: Mapping[str, Node]) -> Objective:
    slo.child("metadata").text("name")
    spec = slo.child("spec")
    spec.one_of("budgetingMethod", ("Occurrences",))
    refuse(spec, ("alertPolicies", "timeWindow"), "to be left out: rules and windows are Dipper's own")
    measured = measured_by(slo, indicators)
    objective = only_objective(spec)
    refuse(
        objective, ("op", "value", "timeSliceTarget", "timeSliceWindow"), "to be left out for a ratio of occurrences"
    )
    return Objective(
        customer=measured.customer,
        service=measured.service,
        measure=measured.measure,
        target=target_of(objective),
        threshold=measured.threshold,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What an SLO counts."""

    customer: str
    service: str
    measure: str
    threshold: float | None


def measured_by(slo: Node, indicators: Mapping[str, Node]) -> Measured:
    """What an SLO counts, by its own indicator or the one it names."""
    spec = slo.child("spec")
    source = _source(_indicator(spec, indicators))
    unknown = sorted(set(source.fields) - {"customer", "measure", "threshold"}, key=str)
    if unknown:
        raise source.wrong(str(unknown[0]), "customer, measure or threshold", unknown[0])
    return Measured(
        customer=check_id(f"{source.path}.customer", source.text("customer")),
        service=check_id(f"{spec.path}.service", spec.text("service")),
        measure=source.text("measure"),
        threshold=None if source.fields.get("threshold") is None else source.number("threshold"),
    )


def refuse(node: Node, names: Sequence[str], expected: str) -> None:
    """Refuse fields that would be ignored."""
    for name in names:
        if name in node.fields:
            raise node.wrong(name, expected, node.fields[name])


def _indicator(spec: Node, indicators: Mapping[str, Node]) -> Node:
    """The SLI's own spec."""
    if ("indicator" in spec.fields) == ("indicatorRef" in spec.fields):
        raise spec.wrong("indicator", "either indicator or indicatorRef", sorted(spec.fields, key=str))
    if "indicator" in spec.fields:
        return spec.child("indicator").child("spec")
    return indicators[spec.one_of("indicatorRef", tuple(indicators))]


def _source(indicator: Node) -> Node:
    """What Dipper is asked to count as bad."""
    ratio = indicator.child("ratioMetric")
    refuse(ratio, ("good", "raw", "rawType"), "bad and total only")
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


def only_objective(spec: Node) -> Node:
    """The one entry of `objectives`."""
    listed = spec.fields.get("objectives")
    if not isinstance(listed, list) or len(listed) != 1:
        raise spec.wrong("objectives", "a list of exactly one objective", listed)
    return Node(f"{spec.path}.objectives[0]", listed[0])


def target_of(objective: Node) -> float:
    """`target` or `targetPercent` as a share, 0 and 1 excluded."""
    if ("target" in objective.fields) == ("targetPercent" in objective.fields):
        raise objective.wrong("target", "either target or targetPercent", sorted(objective.fields, key=str))
    name = "target" if "target" in objective.fields else "targetPercent"
    most = 1 if name == "target" else 100
    target = objective.number(name)
    if not 0 < target < most:
        raise objective.wrong(name, f"above 0 and below {most}", objective.fields[name])
    return target if most == 1 else round(target / 100, 12)
