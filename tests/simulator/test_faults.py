"""Each kind of fault does what its name says, where its scope says, and the truth states how much."""

from __future__ import annotations

import json

import pytest

from contracts.columns import FAILURE_NAMES
from contracts.entities import change_from_json
from contracts.times import MINUTE_MS, from_rfc3339
from simulator.errors import SimulatorError
from simulator.faults import KINDS, Effect
from simulator.schedule import random_specs, read_script, resolve
from simulator.world import build_world
from tests.simulator.builders import CALM, START, Gateway, make_fleet, only, play, spec


def run(kind: str, *, minutes: float = 6, devices: int = 60, **more):
    """A fault of four minutes from the second one on; returns fleet, gateway and the truth's fault."""
    fleet = make_fleet([spec(kind, 2, 4, **more)], devices=devices, habits=CALM)
    gateway = Gateway(fleet)
    play(fleet, gateway, minutes)
    faults = fleet.truth.as_json(fleet.boxes)["faults"]
    return fleet, gateway, faults[0] if faults else None


def ratio(gateway: Gateway, keep, bad=FAILURE_NAMES, of="requests", minutes=(2, 6)) -> tuple[int, int]:
    """Bad and total of the slices that `keep(report, dims)` accepts, started within the minutes."""
    failed = total = 0
    for _, start, report in gateway.reports.values():
        if not START + minutes[0] * MINUTE_MS <= start < START + minutes[1] * MINUTE_MS:
            continue
        s = report.slices
        for row in range(len(s)):
            if keep(report, {name: values[row] for name, values in s.dimensions.items()}):
                failed += sum(s.counts[name][row] for name in bad)
                total += s.counts[of][row]
    return failed, total


def test_origin_failure_hits_its_customer_alone():
    _, gateway, fault = run("origin_failure", scope={"customer": "river-games"}, severity=0.5)
    bad, total = ratio(gateway, lambda r, d: d["customer"] == "river-games")
    others_bad, others = ratio(gateway, lambda r, d: d["customer"] != "river-games")
    assert bad / total == pytest.approx(0.475, abs=0.03)  # 0.65 x 0.5 server errors, 0.3 x 0.5 time-outs
    assert others_bad / others < 0.02
    assert fault["customers"] == ["river-games"]
    assert fault["measure"] == "failures"
    assert fault["requests_of_customers"] == fault["requests_in_scope"] == total
    assert fault["bad_added"] == pytest.approx(bad, rel=0.02)
    assert fault["share_of_requests"] == pytest.approx(fault["bad_added"] / total, abs=1e-6)


def test_isp_slow_hits_one_isp_in_one_region():
    scope = {"client_isp": "China-Telecom", "client_region": "Guangdong"}
    _, gateway, fault = run("isp_slow", scope=scope, severity=1.0, devices=120)

    def inside(report, d):
        return all(d[k] == v for k, v in scope.items())

    bad, total = ratio(gateway, inside)
    other_bad, other = ratio(gateway, lambda r, d: not inside(r, d))
    assert bad / total > 8 * other_bad / other
    assert fault["measure"] == "slow_requests"
    assert fault["requests_in_scope"] == total
    assert from_rfc3339(fault["end"]) - from_rfc3339(fault["start"]) == 4 * MINUTE_MS


def test_firmware_leak_runs_on_the_new_firmware_and_comes_with_a_change():
    fleet, gateway, fault = run("firmware_leak", scope={"model": "mb3"}, ramp_ms=MINUTE_MS, severity=1.0)
    firmware = fault["scope"]["firmware"]
    bad, total = ratio(gateway, lambda r, d: r.firmware == firmware)
    other_bad, other = ratio(gateway, lambda r, d: r.firmware != firmware)
    assert bad / total > 8 * other_bad / other
    new = [r for _, _, r in gateway.reports.values() if r.firmware == firmware]
    assert {r.model for r in new} == {"mb3"}
    assert {r.device for r in new} == {fleet.world.devices[i].id for i in only(fleet).devices}
    assert max(r.vitals["memory_used_ratio"] for r in new) > 0.75
    (change,), _ = fleet.announcements(START + 3 * MINUTE_MS)
    assert (change.id, change.kind) == (fault["change_id"], "firmware")
    assert change.scope == {"model": "mb3", "firmware": firmware}
    assert change.start == from_rfc3339(fault["start"])


def test_a_firmware_rolls_out_box_by_box_canaries_first():
    fleet = make_fleet([spec("firmware_leak", 1, 8, scope={"model": "mb3"}, ramp_ms=4 * MINUTE_MS)], devices=150)
    devices = [fleet.world.devices[i] for i in only(fleet).devices]
    cohorts = [d.attributes.cohort for d in devices]
    assert cohorts == sorted(cohorts, key=["canary", "early", "main"].index)
    assert len(devices) == pytest.approx(0.5 * sum(d.model == "mb3" for d in fleet.world.devices), abs=1)
    half = sum(only(fleet).reached_at(j) <= START + 3 * MINUTE_MS for j in range(len(devices)))
    assert half == pytest.approx(len(devices) / 2, abs=1)


def test_bad_rule_sends_its_traffic_to_far_boxes_under_a_new_version():
    fleet = make_fleet([], devices=100)
    before = next(r.sched_rule for r in fleet.world.rules if r.id == "pearl-live-live")
    fleet, gateway, fault = run("bad_rule", scope={"sched_rule": before}, devices=100)
    after = fault["scope"]["sched_rule"]
    assert after.split("@")[0] == before.split("@")[0]
    assert int(after.split("@")[1]) == int(before.split("@")[1]) + 1
    region = {d.id: d.attributes.device_region for d in fleet.world.devices}

    def far_share(rule, minutes):
        far, _ = ratio(
            gateway,
            lambda r, d: d["sched_rule"] == rule and d["client_region"] != region[r.device],
            ("requests",),
            minutes=minutes,
        )
        _, total = ratio(gateway, lambda r, d: d["sched_rule"] == rule, minutes=minutes)
        return far / total

    assert far_share(after, (2, 6)) > far_share(before, (0, 2)) + 0.3
    assert ratio(gateway, lambda r, d: d["sched_rule"] == before) == (0, 0)
    (change,), (rule,) = fleet.announcements(START + 3 * MINUTE_MS)
    assert change.scope == {"sched_rule": after} == {"sched_rule": rule.sched_rule}
    assert fault["change_id"] == change.id
    (rollback,), rules = fleet.announcements(START + 7 * MINUTE_MS)
    assert rollback.scope == {"sched_rule": before}
    assert rules == []


def test_uplinks_saturate_only_in_the_evening():
    scope = {"device_isp": "China-Telecom", "device_region": "Guangdong"}
    fleet = make_fleet([spec("uplink_saturation", 0, 600, scope=scope)])
    fault = only(fleet)
    assert fault.intensity(START) == 0.0  # 18:00 in Shanghai
    assert fault.intensity(START + 3 * 60 * MINUTE_MS) == 1.0
    assert fault.intensity(START + 6 * 60 * MINUTE_MS) == 0.0


def test_a_ramp_grows_to_full_strength():
    fault = only(make_fleet([spec("isp_slow", 1, 5, ramp_ms=2 * MINUTE_MS)]))
    strengths = [fault.intensity(START + t * 10_000) for t in (5, 6, 11, 17, 18, 35, 36)]
    assert strengths == pytest.approx([0, 1 / 12, 0.5, 1, 1, 1, 0])


def test_dark_boxes_of_a_region_send_nothing_and_are_listed():
    scope = {"device_isp": "China-Telecom", "device_region": "Guangdong"}
    fleet, gateway, fault = run("boxes_dark", scope=scope, minutes=4)
    dark = {d.id for d in fleet.world.devices if d.attributes.device_region == "Guangdong"}
    dark &= {d.id for d in fleet.world.devices if d.attributes.device_isp == "China-Telecom"}
    assert set(fault["devices"]) == dark != set()
    starts = [start for (device, _, _), (_, start, _) in gateway.reports.items() if device in dark]
    assert max(starts) < START + 2 * MINUTE_MS
    assert fault["incident_kind"] == "silence.region"
    assert (fault["measure"], fault["bad_added"]) == (None, 0)


def test_a_degradation_takes_any_scope_and_effect():
    scope = {"customer": "pearl-live", "nat_type": "symmetric"}
    _, _, fault = run("degradation", scope=scope, effect=Effect(f_server=0.2))
    assert fault["customers"] == ["pearl-live"]
    assert fault["bad_added"] == pytest.approx(0.2 * fault["requests_in_scope"], rel=0.2)


def test_overlapping_faults_each_own_what_they_added():
    scope = {"customer": "pearl-live"}
    specs = [
        spec("degradation", 1, 2, scope=scope, effect=Effect(f_server=0.2), id="first"),
        spec("degradation", 1, 2, scope={}, effect=Effect(f_reset=0.1), id="second"),
    ]
    fleet = make_fleet(specs, habits=CALM)
    gateway = Gateway(fleet)
    play(fleet, gateway, 3)
    first, second = fleet.truth.as_json(fleet.boxes)["faults"]
    failed, _ = ratio(gateway, lambda r, d: True, ("f_reset",), minutes=(1, 3))
    assert second["bad_added"] == pytest.approx(failed, rel=0.02)
    failed, _ = ratio(gateway, lambda r, d: d["customer"] == "pearl-live", ("f_server",), minutes=(1, 3))
    assert first["bad_added"] == pytest.approx(failed, rel=0.02)


def test_harmless_changes_are_announced_but_no_faults():
    fleet, gateway, fault = run("rule_release")
    assert fault is None
    truth = fleet.truth.as_json(fleet.boxes)
    assert [c["change_id"] for c in truth["harmless_changes"]] == ["change-0001"]
    assert len(fleet.announcements(START + 10 * MINUTE_MS)[0]) == 2
    bad, total = ratio(gateway, lambda r, d: d["sched_rule"] == truth["harmless_changes"][0]["scope"]["sched_rule"])
    assert total > 0
    assert bad / total < 0.03


def test_announced_changes_are_valid_changes():
    fleet = make_fleet([spec("bad_rule", 1, 2), spec("firmware_release", 1, 2)])
    changes, _ = fleet.announcements(START + 5 * MINUTE_MS)
    assert len(changes) == 4
    for c in changes:
        document = {n: getattr(c, n) for n in ("id", "kind", "scope", "start", "end", "author", "reference", "note")}
        assert change_from_json(document) == c


def test_random_schedules_are_reproducible_and_leave_quiet_at_both_ends():
    for seed in range(12):
        specs = random_specs(seed, START, 60, 6)
        assert specs == random_specs(seed, START, 60, 6)
        harmful = [s for s in specs if KINDS[s.kind].incident]
        assert len(harmful) in (6, 7)
        assert all(START + 12 * MINUTE_MS <= s.start <= START + 56 * MINUTE_MS for s in specs)
    assert random_specs(1, START, 60, 6) != random_specs(2, START, 60, 6)
    assert random_specs(1, START, 2, 6) == random_specs(1, START, 60, 0) == []


def test_random_faults_resolve_on_fleets_of_any_size():
    for devices in (1, 5, 60):
        for seed in range(6):
            world = build_world(seed, devices, start_ms=START)
            faults = resolve(world, random_specs(seed, START, 120, 8))
            assert faults == resolve(world, random_specs(seed, START, 120, 8))
            assert all(f.scope or f.devices for f in faults)


SCRIPT = """
[[fault]]
id = "slow-isp"
kind = "isp_slow"
start_minute = 2
minutes = 3
ramp_minutes = 1
severity = 0.7
scope = { client_isp = "China-Telecom", client_region = "Guangdong" }

[[fault]]
kind = "degradation"
start_minute = 1.5
minutes = 1
scope = { customer = "pearl-live" }
effect = { f_server = 0.05 }
"""


def test_scripts_in_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "s.toml").write_text(SCRIPT)
    specs = read_script(tmp_path / "s.toml", START)
    document = {
        "fault": [
            {
                "id": "slow-isp",
                "kind": "isp_slow",
                "start_minute": 2,
                "minutes": 3,
                "ramp_minutes": 1,
                "severity": 0.7,
                "scope": {"client_isp": "China-Telecom", "client_region": "Guangdong"},
            },
            {
                "kind": "degradation",
                "start_minute": 1.5,
                "minutes": 1,
                "scope": {"customer": "pearl-live"},
                "effect": {"f_server": 0.05},
            },
        ]
    }
    (tmp_path / "s.json").write_text(json.dumps(document))
    assert read_script(tmp_path / "s.json", START) == specs
    assert (specs[0].start, specs[0].end, specs[0].ramp_ms) == (START + 120_000, START + 300_000, 60_000)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "fault"),
        ("not toml at all =", "TOML"),
        ('[[fault]]\nkind = "nope"\nstart_minute = 1\nminutes = 1', "fault.kind"),
        ('[[fault]]\nkind = "isp_slow"\nminutes = 1', "start_minute"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 0', "fault.minutes"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = nan\nminutes = 1', "start_minute"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 1\nseverity = 2', "fault.severity"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 1\nfoo = 2', "foo"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 1\nscope = "x"', "scope"),
        ('[[fault]]\nkind = "degradation"\nstart_minute = 1\nminutes = 1', "effect"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 1\neffect = { f_server = 2 }', "f_server"),
        ('[[fault]]\nkind = "isp_slow"\nstart_minute = 1\nminutes = 1\neffect = { nope = 2 }', "effect"),
    ],
)
def test_a_bad_script_is_refused_with_the_field_it_is_about(tmp_path, text, names):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(SimulatorError, match=names):
        read_script(path, START)


@pytest.mark.parametrize(
    ("scope", "names"),
    [({"client_isp": "Nobody"}, "client_isp"), ({"colour": "red"}, "scope")],
)
def test_a_scope_that_the_world_does_not_have_is_refused(scope, names):
    with pytest.raises(SimulatorError, match=names):
        make_fleet([spec("isp_slow", 1, 1, scope=scope)])


def test_a_missing_script_is_refused(tmp_path):
    with pytest.raises(SimulatorError, match="script"):
        read_script(tmp_path / "none.toml", START)
