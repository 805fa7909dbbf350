"""What processes say of themselves to Prometheus: every name with its meaning, and the alert to set on it.

docs/metrics.md is this table for people; the gateway's own counters stand in ingest/metrics.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Reading = tuple[str, tuple[str, ...], float | None]  # name, label values, value; None: nothing to say yet
NO_LABELS: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Meaning:
    """A metric. `kind`: counter | gauge; `alert`: what to set on it, empty for none."""

    kind: str
    labels: tuple[str, ...]
    meaning: str
    alert: str = ""


METRICS: dict[str, Meaning] = {
    # every process
    "dipper_build_info": Meaning("gauge", ("process", "version", "python"), "1; the labels say what runs"),
    "dipper_ready": Meaning("gauge", (), "1 when /readyz says ready", "0 for 5 min"),
    "dipper_silent": Meaning(
        "gauge", (), "1 when a part is alive and yet gets nothing done; /readyz says which", "1 for 1 min"
    ),
    "dipper_steps_total": Meaning("counter", ("part",), "steps that a part has finished"),
    "dipper_step_failures": Meaning(
        "gauge", ("part",), "steps of a part that failed in a row; 0 when the last one worked", "above 5 for 5 min"
    ),
    "dipper_step_age_seconds": Meaning("gauge", ("part",), "since a part last finished a step"),
    # who reads the log: worker, sink, intake
    "dipper_lag_records": Meaning("gauge", ("part", "topic"), "records of the log not read yet", "rising for 15 min"),
    "dipper_lag_seconds": Meaning(
        "gauge", ("part",), "age of the newest record read, while others wait", "above 60 for 5 min"
    ),
    "dipper_poison_total": Meaning(
        "counter", ("part",), "records nobody could read, kept in telemetry.rejected", "any increase"
    ),
    "dipper_records_total": Meaning("counter", ("part",), "records of the log that were consumed"),
    "dipper_batches_total": Meaning("counter", ("part",), "batches (messages, steps of the sink) they came in"),
    # streams: dipper worker, dipper up
    "dipper_watermark_delay_seconds": Meaning(
        "gauge", (), "how far event time lies behind the clock, of the slowest partition", "above 120 for 5 min"
    ),
    "dipper_stream_slices_total": Meaning("counter", (), "slices the quality operator took in"),
    "dipper_late_requests_total": Meaning(
        "counter", (), "requests too late for the stream's minutes; history has them", "sudden rise"
    ),
    "dipper_open_minutes": Meaning("gauge", (), "minutes the stream holds open"),
    "dipper_emitted_messages_total": Meaning("counter", (), "messages the operators wrote"),
    "dipper_rebuilding_partitions": Meaning(
        "gauge", (), "partitions whose open minutes a worker still rebuilds from the log", "above 0 for 5 min"
    ),
    "dipper_rebalances_total": Meaning(
        "counter", (), "times the group shared partitions out anew", "more than 10 in 1 h"
    ),
    "dipper_assigned_partitions": Meaning("gauge", (), "partitions this worker holds"),
    # history: dipper sink, dipper up
    "dipper_sink_active": Meaning(
        "gauge", (), "1 on the sink that works, 0 on one that stands by", "sum over sinks is 0 for 2 min"
    ),
    "dipper_freshness_seconds": Meaning(
        "gauge", (), "end of the newest interval that queries can see, to now", "above 60 for 5 min"
    ),
    "dipper_stored_slices_total": Meaning("counter", (), "slices stored"),
    "dipper_stored_reports_total": Meaning("counter", (), "headers of reports stored"),
    "dipper_duplicates_total": Meaning("counter", (), "rows that were stored before and did not count again"),
    "dipper_insert_rows_per_second": Meaning("gauge", (), "speed of the last insert of slices"),
    "dipper_insert_seconds": Meaning("gauge", (), "duration of the last step that stored something", "above 10"),
    "dipper_dirty_minutes": Meaning("gauge", (), "minutes whose rollups wait to be recomputed", "above 30 for 15 min"),
    "dipper_minutes_behind": Meaning(
        "gauge", (), "minutes that ended and were not computed yet: a backlog after an outage"
    ),
    "dipper_recomputed_minutes_total": Meaning("counter", (), "minutes recomputed"),
    "dipper_skipped_records_total": Meaning(
        "counter",
        (),
        "records the log let go before history had read them, since the sink started: data is lost",
        "above 0",
    ),
    # notifications: dipper up
    "dipper_notify_sent_total": Meaning("counter", ("receiver",), "messages about incidents that arrived"),
    "dipper_notify_failed_total": Meaning("counter", ("receiver",), "attempts to deliver one that failed"),
    "dipper_notify_given_up_total": Meaning(
        "counter", ("receiver",), "messages let go undelivered after a day, or an hour of refusals", "any increase"
    ),
    "dipper_notify_waiting": Meaning("gauge", ("receiver",), "messages that wait to be delivered"),
    "dipper_notify_waiting_seconds": Meaning(
        "gauge", ("receiver",), "age of the oldest message that waits", "above 600 for 5 min"
    ),
    # detection and incidents, health scores, the feed: dipper triage, health and feed, dipper up
    "dipper_active": Meaning(
        "gauge", ("part",), "1 on the process that works, 0 on one that stands by", "sum by part is 0 for 2 min"
    ),
    "dipper_judged_minutes_total": Meaning("counter", (), "minutes that were judged"),
    "dipper_open_incidents": Meaning("gauge", (), "incidents that are not resolved"),
    "dipper_refused_actions_total": Meaning(
        "counter", (), "actions on incidents that came too late to be allowed: somebody was faster"
    ),
    "dipper_scores_age_seconds": Meaning("gauge", (), "since health scores were last computed", "above 300 for 5 min"),
    "dipper_scores_published_total": Meaning("counter", (), "scores and states of the budget published"),
    "dipper_exhausted_cells": Meaning(
        "gauge", (), "cells of the network whose removal budget is used up", "above 0 for 15 min"
    ),
    "dipper_feed_boxes": Meaning("gauge", (), "boxes whose score the feed holds"),
    "dipper_feed_subscribers": Meaning("gauge", (), "subscribers of the feed's stream"),
    "dipper_feed_dropped_subscribers_total": Meaning("counter", (), "subscribers let go because they took nothing"),
    # every process of a cluster with a replica of the registry
    "dipper_registry_behind_records": Meaning("gauge", (), "entries of the registry not applied yet", "rising"),
    # intake of trusted nodes
    "dipper_intake_reports_stored_total": Meaning("counter", (), "reports of trusted nodes that are durable"),
    "dipper_intake_reports_duplicate_total": Meaning("counter", (), "reports of theirs that had been stored before"),
    "dipper_intake_reports_refused_total": Meaning(
        "counter", (), "reports of theirs refused, kept with their reason", "sudden rise"
    ),
    "dipper_intake_slices_stored_total": Meaning("counter", (), "slices of theirs that are durable"),
    "dipper_intake_slices_refused_total": Meaning("counter", (), "slices of theirs of unknown customers"),
    "dipper_intake_unauthenticated_total": Meaning(
        "counter", ("reason",), "records in telemetry.raw that nobody known signed; they count nowhere", "any increase"
    ),
}
PROCESS_METRICS = {  # of prometheus_client's ProcessCollector
    "process_resident_memory_bytes": "memory the process really holds",
    "process_virtual_memory_bytes": "memory it has mapped",
    "process_cpu_seconds_total": "processor time it used",
    "process_start_time_seconds": "when it started, Unix time",
    "process_open_fds": "files and sockets it has open",
    "process_max_fds": "how many it may have open",
}


class Readings(Collector):
    """Turns readings, taken when somebody asks, into Prometheus' families; one reading per name and labels."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked at registration: parts may not have started."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Families with values. A name that METRICS does not declare is a KeyError."""
        found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for name, labels, value in self._read():
            assert len(labels) == len(METRICS[name].labels), name
            if value is not None:
                found.setdefault(name, []).append((labels, float(value)))
        for name, meaning in METRICS.items():
            if name in found:
                kind = CounterMetricFamily if meaning.kind == "counter" else GaugeMetricFamily
                family = kind(name, meaning.meaning, labels=meaning.labels)
                for labels, value in found[name]:
                    family.add_metric(labels, value)
                yield family


def named(part: str, status: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Reading]:
    """Readings of a part: metric name -> key of its status; keys the status lacks are left out."""
    for name, key in names.items():
        if key in status:
            yield name, (part,) if METRICS[name].labels else NO_LABELS, status[key]
