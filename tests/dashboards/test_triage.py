"""The triage page: order, words, expectation, similarity, chart, actions with their author."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from contracts.entities import Change
from contracts.incidents import ACKNOWLEDGE, MUTE, SENTENCES, Action, Incident, Sentence, apply
from contracts.protocols import LogUnavailable
from contracts.times import DAY_MS, HOUR_MS, MINUTE_MS
from dashboards import explore_url, incident_text, triage, triage_figures
from dashboards.context import Context, set_context
from dashboards.people import Person
from history.query_cells import CellAnswer, CellQuestion, Statement
from tests.dashboards.made_incidents import WHERE, make_changes, make_incident, make_incidents, make_signals
from tests.dashboards.synthetic import NOW, SyntheticBackend, make_context, make_lens
from tests.dashboards.test_script import answer, markup, open_page

LENS = make_lens()
NAMES = {"c001": "Lark Live", "c004": "晨星视频", "c008": "云雀直播"}
INCIDENTS = make_incidents(NOW)


def cells(rows: dict[tuple[str, ...], tuple[float, int]]) -> CellAnswer:
    question = CellQuestion("failures", 0, HOUR_MS, ("client_isp", "client_region"))
    values, totals = tuple(v for v, _ in rows.values()), tuple(t for _, t in rows.values())
    return CellAnswer(question, tuple(rows), (0,) * len(rows), values, totals, (), Statement("", {}))


def test_open_ones_come_first_the_most_severe_before_the_others_and_merged_ones_not_at_all() -> None:
    merged = replace(INCIDENTS[0], id="inc-9", state="resolved", resolved_at=NOW, merged_into="inc-1")
    assert [i.id for i in triage.in_order([merged, *reversed(INCIDENTS)])] == ["inc-1", "inc-2", "inc-3", "inc-0"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("key", sorted(SENTENCES))
def test_every_headline_can_be_said(key: str, language: str) -> None:
    values = {
        "customers": ("c001",), "measures": ("failures",), "factor": 4.13, "since": NOW - HOUR_MS, "where": WHERE,
        "share": 0.87, "causes": 2, "boxes": 31, "device": "box-1", "lag_s": 240.0, "fault": "f1", "used": 0.1,
        "allowed": 0.15,
    }  # fmt: skip
    sentence = Sentence(key, {name: values[name] for name in SENTENCES[key]})  # type: ignore[misc]
    text = incident_text.headline(sentence, make_lens(language), NAMES)
    assert "{" not in text
    assert "None" not in text


def test_the_headline_is_a_sentence() -> None:
    assert incident_text.headline(INCIDENTS[0].headline, LENS, NAMES) == (
        "Lark Live and 2 more: stalled sessions at 4.1 times normal since 11:19 for client ISP = China Unicom,"
        " client region = Hebei, firmware = 2.3.1; 87% of the excess."
    )


def test_expectation_mixes_a_cells_own_past_with_the_ratio_of_all() -> None:
    before = cells({("a", "x"): (20, 1_000), ("a", "y"): (0, 1_000)})  # r = 1%, so k = 10 / 0.01 = 1000
    found = triage.against_expected(cells({("a", "x"): (90, 1_000), ("b", "z"): (3, 100)}), before)
    assert found["a", "x"].expected == pytest.approx(1_000 * (20 + 10) / (1_000 + 1_000))
    assert found["b", "z"].expected == pytest.approx(100 * 0.01)
    assert found["a", "x"].excess == pytest.approx(75)
    nothing = triage.against_expected(cells({("a", "x"): (5, 10)}), cells({}))
    assert nothing["a", "x"].expected == 0.0


def test_the_heat_map_escapes_and_each_cell_says_what_it_picks() -> None:
    found = triage.against_expected(cells({("<b>", "x;y"): (9, 10)}), cells({("<b>", "x;y"): (1, 10)}))
    text = triage.heat_map(found, ("client_isp", "client_region"), LENS)
    assert "<b>" not in text
    pick = re.search(r'data-pick="([^"]*)"', text)
    assert pick is not None
    assert explore_url.read_where(pick[1]) == {"client_isp": ("<b>",), "client_region": ("x;y",)}
    assert "9.0×" in text  # 9 bad where 1 was usual


def test_a_cause_shows_both_counts_what_selects_the_same_rows_and_its_own_address() -> None:
    text = triage.causes_table(INCIDENTS[0], {}, LENS, NAMES)
    assert "1\u2009203 / 152" in text
    assert "same rows as client ISP = China Unicom, client region = Hebei, firmware = 2.3.1, model = m1" in text
    assert "nearly the same rows as firmware = 2.3.1" in text
    link = triage.explore_link(make_incident(NOW, customers=("c001",)), WHERE, LENS, "stalled_sessions")
    assert "where=client_isp%3AChina+Unicom%3Bclient_region%3AHebei%3Bfirmware%3A2.3.1%3Bcustomer%3Ac001" in link
    diffuse = triage.causes_table(INCIDENTS[1], {}, LENS, NAMES)
    assert "no single cause" in diffuse


def test_similar_ones_share_a_third_of_what_describes_them_and_came_before() -> None:
    now = INCIDENTS[0]
    other = replace(now, id="other", onset=now.onset - HOUR_MS, causes=(), customers=("c9",), measures=("failures",))
    later = replace(now, id="later", onset=now.onset + 1)
    found = triage.similar(now, [*INCIDENTS, other, later])
    assert [i.id for _, i in found] == ["inc-0"]
    assert found[0][0] == pytest.approx(6 / 8)  # 3 values, 2 measures, 1 of 3 customers
    assert "real cause: firmware = 2.3.0" in triage.similar_table(found, LENS, NAMES)


def test_the_chart_marks_onset_detection_and_the_change_and_breaks_where_minutes_miss() -> None:
    incident = INCIDENTS[0]
    start, end = triage.span_of(incident, NOW)
    assert start == incident.onset - HOUR_MS
    track = triage_figures.track_of(make_signals(NOW, start, end))
    kept = [n for n, m in enumerate(track.minute) if m != incident.onset + 9 * MINUTE_MS]
    names = ("minute", "bad", "total", "expected", "low", "high")
    holed = replace(track, **{name: tuple(getattr(track, name)[n] for n in kept) for name in names})
    figure = triage_figures.incident_figure(incident, holed, track, make_changes(NOW), LENS)
    lines = {t.get("name"): t for t in figure["data"]}
    assert {"observed", "expected", "usual band", "without these rows"} <= set(lines)
    assert lines["observed"]["y"].count(None) == 1
    assert [a["text"] for a in figure["layout"]["annotations"]] == ["firmware", "onset", "detected", "≤ 2%"]
    assert "wei · FW-231 · Roll out 2.3.1 to b" in figure["layout"]["annotations"][0]["hovertext"]
    bad, total, expected = track.sums(incident.onset)
    assert expected is not None
    assert 3 < bad / expected < 5
    assert total > 40 * 650


def test_a_track_in_steps_of_five_minutes_is_one_line_that_breaks_where_a_step_misses() -> None:
    start = NOW - NOW % DAY_MS
    question = CellQuestion("failures", start, start + HOUR_MS, step_ms=5 * MINUTE_MS)
    steps = (0, 1, 2, 4)
    found = CellAnswer(question, ((),) * 4, steps, (1.0,) * 4, (100,) * 4, (), Statement("", {}))
    track = triage_figures.track_of_cells(found)
    figure = triage_figures.incident_figure(INCIDENTS[0], track, None, (), LENS)
    (line,) = (t for t in figure["data"] if t.get("name") == "observed")
    assert line["y"] == [1.0, 1.0, 1.0, None, 1.0]
    assert [x[11:16] for x in line["x"]] == ["00:00", "00:05", "00:10", "00:15", "00:20"]


@pytest.mark.parametrize("minutes", [9 * 60, 9 * 60 + 1, 9 * 60 + 3, 30 * 60 + 2])
def test_an_incident_of_many_hours_opens_whatever_minute_it_began_at(minutes: int) -> None:
    onset = NOW - NOW % MINUTE_MS - minutes * MINUTE_MS
    long = make_incident(NOW, onset=onset, detected_at=onset + 2 * MINUTE_MS)

    class One(SyntheticBackend):
        def incidents(self, start: int, end: int) -> tuple[Incident, ...]:
            return (long,)

    set_context(replace(make_context(), backend=One()))
    shown = markup(open_page("triage", incident=long.id))
    for head in ("Causes, by the share of the excess", "Observed against expected", "Requests to look at"):
        assert head in shown


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("incident", [i.id for i in INCIDENTS])
def test_every_incident_can_be_opened_by_its_address(incident: str, language: str) -> None:
    set_context(make_context())
    app = open_page("triage", incident=incident, lang=language)
    sentence = next(i.headline for i in INCIDENTS if i.id == incident)
    names = {c.id: c.name for c in make_context().registry.customers()}
    assert answer(app) == incident_text.headline(sentence, make_lens(language), names)


def test_an_action_is_recorded_with_its_author_and_shown_at_once() -> None:
    acts: list[Action] = []
    set_context(make_context(demo=True, acts=acts))
    app = open_page("triage", range="24h")
    app.button(key="act-acknowledge").click().run()
    assert [(a.verb, a.author, a.incident, a.at) for a in acts] == [("acknowledge", "demo operator", "inc-1", NOW)]
    assert "Acknowledge: recorded for demo operator." in markup(app)
    assert not [b for b in app.button if b.key == "act-acknowledge"]
    app.text_area(key="act-text-mute").set_value("known roll-out").run()
    app.button(key="act-do-mute").click().run()
    assert (acts[1].verb, acts[1].until, acts[1].text) == ("mute", NOW + HOUR_MS, "known roll-out")
    app.button(key="act-unmute").click().run()
    app.text_input(key="act-value").set_value("fault-7").run()
    app.button(key="act-do-real_cause").click().run()
    assert acts[3].cause == {"customer": "fault-7"}
    app.button(key="act-do-resolve").click().run()
    app.button(key="act-reopen").click().run()
    assert [a.verb for a in acts] == ["acknowledge", "mute", "unmute", "real_cause", "resolve", "reopen"]


def test_what_cannot_be_recorded_is_told_and_nothing_changes() -> None:
    def away(action: Action) -> None:
        raise LogUnavailable("no brokers")

    sound = make_context()
    set_context(Context(sound.backend, sound.registry, sound.now, act=away))
    app = open_page("triage")
    app.button(key="act-do-note").click().run()
    assert "text: expected 1 to 2000 characters" in markup(app)
    app.button(key="act-acknowledge").click().run()
    assert "could not be recorded" in markup(app)
    assert [b for b in app.button if b.key == "act-acknowledge"]


def test_a_viewer_may_look_and_a_reading_process_says_so() -> None:
    sound = make_context()
    acts: list[Action] = []
    set_context(Context(sound.backend, sound.registry, sound.now, act=acts.append, person=lambda: Person("eve")))
    app = open_page("triage")
    assert not [b for b in app.button if str(b.key).startswith("act-")]
    assert "eve may look, not act" in app.caption[0].value
    set_context(Context(sound.backend, sound.registry, sound.now))
    assert "only reads" in open_page("triage").caption[0].value


def test_a_drill_looks_at_one_cell_and_nonsense_at_all() -> None:
    set_context(make_context())
    app = open_page("triage", drill="client_isp:China Unicom;client_region:Hebei")
    assert "only client ISP = China Unicom, client region = Hebei" in app.button(key="t-undrill").label
    app.button(key="t-undrill").click().run()
    assert "drill" not in app.query_params
    for nonsense in ("::;", "device:box-1", "customer:c999"):
        assert not [b for b in open_page("triage", drill=nonsense).button if b.key == "t-undrill"]


def test_an_unknown_incident_is_told() -> None:
    set_context(make_context())
    assert answer(open_page("triage", incident="<i>")) == "There is no incident of this name any more."


def test_mutes_and_acknowledgements_read_as_such() -> None:
    def act(verb: str, **more: object) -> Incident:
        return apply(INCIDENTS[0], Action("a", "inc-1", verb, "ana", NOW, **more))  # type: ignore[arg-type]

    assert incident_text.state_text(act(ACKNOWLEDGE), LENS) == "acknowledged"
    assert incident_text.state_text(act(MUTE, until=NOW + HOUR_MS), LENS) == "muted until 13:03"
    assert isinstance(make_changes(NOW)[0], Change)


@pytest.mark.parametrize(
    ("baselines", "says"),
    [
        (("overall", "time_of_week"), "Expected comes from all minutes known: not a day of them yet."),
        (("time_of_week", "time_of_week"), "Expected comes from the same half hour of the same weekday."),
        (("none", "overall"), "Expected is a typical ratio: nothing of these series was known yet."),
    ],
)
def test_what_little_the_expectation_comes_from_is_said(baselines: tuple[str, ...], says: str) -> None:
    first = INCIDENTS[0]
    series = tuple(replace(first.series[0], baseline=b, customer=f"c{n}") for n, b in enumerate(baselines))
    assert says in triage.series_table(replace(first, series=series), LENS, NAMES)
