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


def ids(store, *question, unmeasured=1):
    return [cause.id for cause in IncidentCauses(store)(*question, unmeasured)]


def of_kind(kind, identity, customers=(), newest=T + 29 * MINUTE, **params):
    said = Sentence(kind, {"since": T, **params})
    return incident(
        identity, kind=kind.removesuffix(".absent"), headline=said, customers=customers, series=(), newest=newest
    )


def test_an_incident_is_told_to_its_customer_without_the_others(store):
    store_incidents(store, incident())
    (cause,) = IncidentCauses(store)("acme", "vod", "failures", T, T + 5 * MINUTE, 0)
    assert (cause.id, cause.start, cause.end, cause.key) == ("inc-1", T, T + 30 * MINUTE, "quality.localised")
    assert cause.params == {
        "customers": ["acme"],
        "measures": ["failures"],
        "factor": 4.1,
        "where": {"client_isp": "unicom"},
        "share": 0.9,
    }


def test_only_what_touches_the_span_and_the_series_explains(store):
    hebei = {"boxes": 40, "where": {"device_region": "hebei"}, "share": 1.0}
    store_incidents(
        store,
        incident(),
        incident("inc-2", series=(series("acme", measure="slow_requests"),)),
        incident("inc-3", customers=("beta",), series=(series("beta"),)),
        incident("inc-4", false_alarm=True),
        incident("inc-5", merged_into="inc-1"),
        of_kind("silence.region", "inc-6", newest=T + 9 * MINUTE, **hebei),
        of_kind("silence.region", "inc-7", customers=("beta",), **hebei),
    )
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE) == ["inc-1", "inc-6"]
    assert ids(store, "acme", "vod", "failures", T + 10 * MINUTE, T + 30 * MINUTE) == ["inc-1"]
    assert ids(store, "acme", "vod", "failures", T + 30 * MINUTE, T + HOUR_MS) == []
    assert ids(store, "acme", "vod", "failures", T - HOUR_MS, T) == []
    assert ids(store, "acme", "live", "failures", T, T + MINUTE) == ["inc-6"]


def test_an_incident_that_lasts_has_no_end(store):
    store_incidents(store, incident(state="open", resolved_at=None))
    (cause,) = IncidentCauses(store)("acme", "vod", "failures", T, T + MINUTE, 0)
    assert cause.end is None


def test_silent_boxes_of_others_explain_nothing(store):
    idle = [
        of_kind(kind, f"inc-{i}", boxes=1, device=f"box-{i}")
        for i, kind in enumerate(("silence.box", "silence.uplink", "silence.agent"))
    ]
    own = incident("own", onset=T + 20 * MINUTE, series=(series("acme"),))
    store_incidents(store, *idle, own)
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE) == ["own"]


def test_silence_and_lag_explain_unmeasured_minutes_only(store):
    box = {"boxes": 1, "device": "box-9"}
    store_incidents(store, of_kind("silence.box", "inc-1", ("acme",), **box), of_kind("self.lag", "inc-2", lag_s=600.0))
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE, unmeasured=1) == ["inc-1", "inc-2"]
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE, unmeasured=0) == []


def test_quality_comes_before_what_lasted_longer(store):
    box = {"boxes": 1, "device": "box-9"}
    store_incidents(store, of_kind("silence.box", "inc-1", ("acme",), **box), incident("inc-2", onset=T + HOUR_MS // 3))
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE) == ["inc-2", "inc-1"]


def test_what_we_test_explains_nothing_and_a_used_up_budget_whom_it_names(store):
    budget = {"where": {}, "used": 0.2, "allowed": 0.2}
    store_incidents(
        store,
        of_kind("self.test", "inc-1", ("acme",), fault="f-1"),
        of_kind("self.test.absent", "inc-2"),
        of_kind("health.budget", "inc-3", **budget),
        of_kind("health.budget", "inc-4", ("acme",), **budget),
    )
    assert ids(store, "acme", "vod", "failures", T, T + 30 * MINUTE) == ["inc-4"]


def test_many_newer_incidents_of_others_push_none_out(store, monkeypatch):
    monkeypatch.setattr("history.sla_causes.MOST", 2)
    others = [
        incident(f"inc-{i}", customers=("beta",), series=(series("beta"),), detected_at=T + i * MINUTE)
        for i in range(2, 22)
    ]
    store_incidents(store, incident("own", customers=("acme",), series=(series("acme"),), detected_at=T), *others)
    assert ids(store, "acme", "vod", "failures", T, T + MINUTE) == ["own"]
