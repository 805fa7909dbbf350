"""Names of metrics: the page, the dashboard and the alerts are held equal to the code."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from dipper.metrics import METRICS, PROCESS_METRICS, Readings, named
from ingest.metrics import METRICS as GATEWAY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text()
BOARD = json.loads((ROOT / "packaging" / "grafana" / "dipper.json").read_text())
ALERTS = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yaml").read_text())
KNOWN = {**METRICS, **GATEWAY, **PROCESS_METRICS}
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [(panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel["targets"]]
NAME = re.compile(r"\b(?:dipper|process)_[a-z_]+\b")


def rows():
    """Rows of the page's tables of metrics, by name."""
    found = {}
    for line in PAGE.splitlines():
        if line.startswith(("| `dipper_", "| `process_")):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[cells[0].strip("`")] = cells[1:]
    return found


def labels_of(name):
    if name in METRICS:
        return set(METRICS[name].labels)
    return set(GATEWAY[name][1]) if name in GATEWAY else set()


def test_the_page_lists_every_metric_and_no_other():
    assert set(rows()) == set(KNOWN)


@pytest.mark.parametrize("name", METRICS)
def test_the_page_says_what_the_code_says(name):
    metric = METRICS[name]
    stated = [cell.replace("\\|", "|") for cell in rows()[name]]
    assert stated == [metric.kind, ", ".join(metric.labels) or "–", metric.meaning, metric.alert or "–"]


@pytest.mark.parametrize("name", GATEWAY)
def test_the_page_says_what_the_gateway_counts(name):
    kind, labels, meaning = GATEWAY[name]
    assert rows()[name][:3] == [kind, ", ".join(labels) or "–", meaning]


@pytest.mark.parametrize("name", PROCESS_METRICS)
def test_the_page_says_what_the_process_metrics_are(name):
    assert rows()[name] == [PROCESS_METRICS[name]]


def test_the_process_metrics_are_those_the_library_gives():
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    given = set(re.findall(r"^# HELP (\S+)", generate_latest(registry).decode(), re.MULTILINE))
    assert given == set(PROCESS_METRICS)


@pytest.mark.parametrize(("title", "expression"), PANELS)
def test_a_panel_asks_only_for_metrics_that_exist(title, expression):
    names = set(NAME.findall(expression))
    assert names
    assert names <= set(KNOWN)
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
    assert grouped <= {"instance"}.union(*(labels_of(name) for name in names))


def test_the_dashboard_shows_every_metric_that_has_an_alert():
    shown = {name for _, expression in PANELS for name in NAME.findall(expression)}
    assert {name for name, metric in METRICS.items() if metric.alert} <= shown


def test_panels_have_places_of_their_own():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_about_metrics_that_exist_and_says_what_to_do(rule):
    names = set(NAME.findall(rule["expr"]))
    assert names
    assert names <= set(METRICS) | set(GATEWAY)
    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert used <= {"instance"}.union(*(labels_of(name) for name in names))


def test_what_must_wake_somebody_has_a_rule():
    asked = {name for rule in RULES for name in NAME.findall(rule["expr"])}
    assert {"dipper_silent", "dipper_ready", "dipper_sink_active", "dipper_freshness_seconds"} <= asked
    assert {"dipper_skipped_records_total", "dipper_watermark_delay_seconds"} <= asked
    assert {"dipper_active", "dipper_scores_age_seconds"} <= asked


def text_of(readings):
    registry = CollectorRegistry()
    registry.register(Readings(lambda: readings))
    return generate_latest(registry).decode()


def test_readings_become_families_with_labels_and_types():
    text = text_of(
        [
            ("dipper_lag_records", ("sink", "changes"), 3),
            ("dipper_lag_records", ("sink", "signals"), 0),
            ("dipper_poison_total", ("sink",), 2),
            ("dipper_freshness_seconds", (), None),
        ]
    )
    assert 'dipper_lag_records{part="sink",topic="changes"} 3.0' in text
    assert 'dipper_lag_records{part="sink",topic="signals"} 0.0' in text
    assert 'dipper_poison_total{part="sink"} 2.0' in text
    assert "# TYPE dipper_poison_total counter" in text
    assert "dipper_freshness_seconds" not in text


def test_an_undeclared_metric_is_an_error():
    with pytest.raises(KeyError, match="dipper_invented"):
        text_of([("dipper_invented", (), 1)])


def test_a_status_gives_only_what_it_has():
    names = {"dipper_lag_seconds": "lag_s", "dipper_dirty_minutes": "dirty_minutes", "dipper_open_minutes": "open"}
    assert list(named("sink", {"lag_s": 1.5, "dirty_minutes": 0}, names)) == [
        ("dipper_lag_seconds", ("sink",), 1.5),
        ("dipper_dirty_minutes", (), 0),
    ]
