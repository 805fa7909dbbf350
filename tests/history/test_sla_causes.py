"""Incidents that explain lost minutes, told to one customer: nothing of another is said."""

import json

import pyarrow as pa

from contracts.incidents import Incident, Sentence, SeriesEvidence, Severity, incident_to_json
from contracts.times import HOUR_MS
from history.sla_causes import IncidentCauses

MINUTE = 60_000
T = 1_792_000_020_000


def series(customer, service="vod", measure="failures"):
    return SeriesEvidence(customer, service, measure, T, T + 30 * MINUTE, 10, 100, 1, 9.0, None, None)


def incident(identity="inc-1", **changes):
    values = {
        "id": identity,
        "kind": "quality",
        "state": "resolved",
        "onset": T,
        "detected_at": T + 20 * MINUTE,
        "newest": T + 29 * MINUTE,
        "resolved_at": T + HOUR_MS,
        "headline": Sentence(
            "quality.localised",
            {
                "customers": ("acme", "beta"),
                "measures": ("failures",),
                "factor": 4.1,
                "since": T,
                "where": {"client_isp": "unicom", "device": "box-9"},
                "share": 0.9,
                "causes": 1,
            },
        ),
        "severity": Severity("high"),
        "customers": ("acme", "beta"),
        "series": (series("acme"), series("beta")),
    }
    return Incident(**{**values, **changes})


def store_incidents(store, *found):
    store.insert(
        "incidents",
        pa.table(
            {
                "id": [i.id for i in found],
                "version": [i.version for i in found],
                "kind": [i.kind for i in found],
                "state": [i.state for i in found],
                "level": [i.severity.level for i in found],
                "onset": [i.onset for i in found],
                "detected_at": [i.detected_at for i in found],
                "newest": [i.newest for i in found],
                "resolved_at": pa.array([i.resolved_at for i in found], pa.int64()),
                "merged_into": [i.merged_into or "" for i in found],
                "document": [json.dumps(incident_to_json(i)) for i in found],
            }
        ),
    )


def ids(store, *question):
    return [cause.id for cause in IncidentCauses(store)(*question)]


def test_an_incident_is_told_to_its_customer_without_the_others(store):
    store_incidents(store, incident())
    (cause,) = IncidentCauses(store)("acme", "vod", "failures", T, T + 5 * MINUTE)
    assert (cause.id, cause.start, cause.end, cause.key) == ("inc-1", T, T + 30 * MINUTE, "quality.localised")
    assert cause.params == {
        "customers": ["acme"],
        "measures": ["failures"],
        "factor": 4.1,
        "where": {"client_isp": "unicom"},
        "share": 0.9,
    }


def test_only_what_touches_the_span_and_the_series_explains(store):
    silent = Sentence("silence.region", {"boxes": 40, "where": {"device_region": "hebei"}, "share": 1.0, "since": T})
    store_incidents(
        store,
        incident(),
        incident("inc-2", series=(series("acme", measure="slow_requests"),)),
        incident("inc-3", customers=("beta",), series=(series("beta"),)),
        incident("inc-4", false_alarm=True),
        incident("inc-5", merged_into="inc-1"),
        incident("inc-6", kind="silence.region", headline=silent, customers=(), series=(), newest=T + 9 * MINUTE),
        incident("inc-7", kind="silence.region", headline=silent, customers=("beta",), series=()),
    )
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE) == ["inc-1", "inc-6"]
    assert ids(store, "acme", "vod", "failures", T + 10 * MINUTE, T + 30 * MINUTE) == ["inc-1"]
    assert ids(store, "acme", "vod", "failures", T + 30 * MINUTE, T + HOUR_MS) == []
    assert ids(store, "acme", "vod", "failures", T - HOUR_MS, T) == []
    assert ids(store, "acme", "live", "failures", T, T + MINUTE) == ["inc-6"]


def test_an_incident_that_lasts_has_no_end(store):
    store_incidents(store, incident(state="open", resolved_at=None))
    (cause,) = IncidentCauses(store)("acme", "vod", "failures", T, T + MINUTE)
    assert cause.end is None
