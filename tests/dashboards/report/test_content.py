"""What the report says, in both languages: figures, words, and nothing that is left open."""

import re

import pytest

from contracts.incidents import SENTENCES
from dashboards.report.content import cause_in_words, content
from dashboards.report.speech import attained, promised
from dashboards.report.words import TEXTS, ReportWords
from history.sla import BAD, NO_TRAFFIC, UNMEASURED
from tests.dashboards.report.documents import ALL_KINDS, CAUSE, ONE_BAD_EVENING, account, at, classes, document


def test_texts_have_the_same_places_in_both_languages():
    for key, (english, chinese) in TEXTS.items():
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", chinese)), key
        assert english
        assert chinese


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1, "100%"), (0.9999999, "99.999%"), (0.999, "99.900%"), (0.99735, "99.735%"), (0.98996, "98.99%"),
        (0.5, "50.00%"), (0, "0.00%"),
    ],
)  # fmt: skip
def test_attainment_is_cut_never_rounded_up(ratio, text):
    assert attained(ratio) == text


def test_promises_are_said_in_full():
    assert [promised(r) for r in (0.999, 0.99995, 0.1, 1.0)] == ["99.9%", "99.995%", "10%", "100%"]


def test_a_missed_month_in_english():
    said = content(document(), "en")
    assert said.headline == "The objective was missed."
    # 81 bad and 22 unmeasured of 44 640 minutes.
    assert said.details == (
        "vod – failed requests: 99.769–99.818% of minutes were good, promised 99.9%.",
        "Service credit due, of the month's fee: 10% for vod – failed requests.",
    )
    assert said.tone == "red"
    assert said.status == "Sealed 3 Nov 2026 08:00: final"
    (row,) = said.rows
    assert (row.bad, row.unmeasured, row.budget, row.credit, row.verdict) == (
        "81 min", "22 min", "181–231%", "10%", "missed",
    )  # fmt: skip
    assert [(r.when, r.lost) for r in said.lost] == [("8 Oct 20:03–21:23", "81 min"), ("13 Oct 03:00–03:21", "22 min")]
    assert said.lost[0].what == (
        "Incident inc-7: failures at 6.1 times the normal for unicom / hebei; 1\u2009204 of 20\u2009331 bad (5.92%)"
    )
    assert said.lost[1].what == "40 of 312 boxes heard at the least"


def test_the_same_month_in_chinese():
    said = content(document(), "zh")
    assert said.headline == "目标未达成。"
    assert said.details[0] == "vod – 失败请求：99.769–99.818% 的分钟良好，承诺 99.9%。"
    assert said.status == "已封存 2026年11月3日 08:00：最终结果"
    assert said.lost[0].when == "10月8日 20:03–21:23"
    assert (
        said.lost[0].what
        == "事件 inc-7：unicom / hebei 的失败为平常的 6.1 倍；20\u2009331 次中 1\u2009204 次不良（5.92%）"
    )
    assert said.month == "2026年10月"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_place_is_left_open_and_no_language_mixes_in(language):
    many = document(
        account(ALL_KINDS), account(measure="slow_requests", threshold=400.0), account(measure="stalled_sessions"),
        account(measure="low_throughput", threshold=2_000.0), account(measure="cache_misses"),
    )  # fmt: skip
    for doc in (many, document(status="open"), document(status="provisional"), document(account(classes()))):
        said = content(doc, language)
        lines = [said.headline, said.status, said.period, *said.details, *said.method, *said.restated, *said.seals]
        lines += [said.lost_note, *(f"{r.label} {r.verdict}" for r in said.rows), *(r.what for r in said.lost)]
        assert not any("{" in line or "}" in line for line in lines)
        if language == "en":
            assert not any(re.search("[\u4e00-\u9fff]", line) for line in lines)


def test_numbers_are_the_same_in_both_languages():
    doc = document(account(ALL_KINDS), account(measure="cache_misses"))
    english, chinese = content(doc, "en"), content(doc, "zh")
    for a, b in zip(english.rows, chinese.rows, strict=True):
        for name in ("promised", "attained", "coverage", "bad", "unmeasured", "budget", "credit"):
            assert re.findall(r"[\d.]+", getattr(a, name)) == re.findall(r"[\d.]+", getattr(b, name))
    assert english.rows[0].days == chinese.rows[0].days
    assert english.burn.spent == chinese.burn.spent


def test_days_show_their_worst_and_how_much():
    days = content(document(account(ALL_KINDS)), "en").rows[0].days
    assert len(days) == 31
    assert (days[7].state, days[7].bad, days[7].lost) == ("bad", 81, 81)
    assert days[7].share == pytest.approx(81 / 1440)
    assert (days[12].state, days[12].lost) == ("unmeasured", 22)
    assert days[26].state == "none"
    assert days[0].weekday == 3  # 1 October 2026 is a Thursday
    assert {d.state for i, d in enumerate(days) if i not in (7, 12, 26)} == {"good"}


def test_the_budget_burns_by_day():
    burn = content(document(), "en").burn
    assert burn.allowed == pytest.approx(44.64)
    assert (burn.spent[6], burn.spent[7], burn.spent[30]) == ((0, 0), (81, 81), (81, 103))
    assert burn.title == "Error budget exceeded: 81 min of 45 min"


def test_an_open_month_says_so_and_owes_nothing_yet():
    said = content(
        document(account(classes((at(8, 20), at(8, 20, 9), BAD), through=17), status="open"), status="open"), "en"
    )
    assert said.status == "Open: the month is still running, as of 17 Oct 2026 11:21"
    assert said.headline == "The month is running; no objective is missed so far."
    assert (said.rows[0].verdict, said.rows[0].credit) == ("open", "–")
    assert {d.state for d in said.rows[0].days[16:]} == {"pending"}
    assert len(said.burn.spent) == 16


def test_what_cannot_be_told_is_amber():
    said = content(document(account(classes((at(8, 20), at(8, 22), UNMEASURED)))), "en")
    assert said.tone == "amber"
    assert said.headline == "Whether the objective was met cannot be told: too much was not measured."
    assert said.rows[0].verdict == "cannot tell"
    assert said.rows[0].credit == "0–10%"


def test_a_month_without_traffic_claims_nothing():
    said = content(document(account(classes((0, 44_640, NO_TRAFFIC)))), "en")
    assert said.headline == "Nothing was measured in this month."
    assert said.details == ()
    assert (said.rows[0].attained, said.rows[0].coverage, said.rows[0].budget) == ("–", "–", "–")
    assert said.lost_note == "No minute was lost."


@pytest.mark.parametrize(
    ("language", "headline"),
    [
        ("en", "1 of 2 objectives met; for 1 nothing was measured."),
        ("zh", "2 项目标中有 1 项已达成；1 项没有测得数据。"),
    ],
)
def test_an_objective_without_data_is_not_called_met(language, headline):
    silent = account(classes((0, 44_640, NO_TRAFFIC)), measure="cache_misses")
    assert content(document(account(classes()), silent), language).headline == headline


def test_many_episodes_are_summed_up_and_the_largest_shown():
    spans = [(at(d, 5), at(d, 5) + d, BAD) for d in range(1, 31)]
    said = content(document(account(classes(*spans))), "en")
    assert [row.lost for row in said.lost] == [f"{d} min" for d in range(30, 16, -1)]
    assert said.lost_note == "and 16 more, 2 h 16 min together: in the CSV and JSON"  # 1 + 2 + .. + 16 minutes


@pytest.mark.parametrize(("language", "others"), [("en", "and 2 more incidents"), ("zh", "另有 2 个事件")])
def test_five_causes_of_lost_minutes_are_told_and_the_others_counted(language, others):
    told = account()
    told["lost"][0]["causes"] = [CAUSE | {"id": f"inc-{i}"} for i in range(7)]
    what = content(document(told), language).lost[0].what
    assert re.findall(r"inc-\d", what) == [f"inc-{i}" for i in range(5)]
    assert others in what


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("key", SENTENCES)
def test_every_headline_an_account_may_hold_has_words(key, language):
    params = {"where": {"device_region": "hebei"}, "measures": ["failures"], "factor": 2.0, "share": 0.5, "boxes": 3}
    said = cause_in_words({"key": key, "params": params}, ReportWords(language))
    assert key not in said
    assert "{" not in said


def test_statements_are_listed():
    told = account()
    told["statements"] = [
        {"stated_at": "2026-11-01T00:00:05.000Z", "bad": 110, "unmeasured": 30, "lower": 0.99686, "upper": 0.99753},
        {"stated_at": "2026-11-01T06:00:05.000Z", "bad": 81, "unmeasured": 22, "lower": 0.99769, "upper": 0.99818},
    ]
    told["restated"] = {"times": 30, "minutes": 28, "last": "2026-11-01T05:12:00.000Z"}
    assert content(document(told), "en").restated == (
        "Late data changed 28 minutes, last at 1 Nov 2026 13:12.",
        "1 Nov 2026 08:00: 99.686–99.753% (110 bad, 30 unmeasured)",
        "1 Nov 2026 14:00: 99.769–99.818% (81 bad, 22 unmeasured)",
    )
    assert content(document(account(ONE_BAD_EVENING)), "en").restated == ("Stated once; no late data changed it.",)


def test_a_restated_objective_is_named_beside_one_that_was_stated_once():
    second = account(classes(), measure="cache_misses")
    second["statements"] = [
        {"stated_at": "2026-11-01T00:00:05.000Z", "bad": 30, "unmeasured": 0, "lower": 0.99932, "upper": 0.99932},
        {"stated_at": "2026-11-01T06:00:05.000Z", "bad": 0, "unmeasured": 0, "lower": 1.0, "upper": 1.0},
    ]
    second["restated"] = {"times": 2, "minutes": 30, "last": "2026-11-01T05:12:00.000Z"}
    assert content(document(account(), second), "en").restated == (
        "vod – cache misses: Late data changed 30 minutes, last at 1 Nov 2026 13:12.",
        "1 Nov 2026 08:00: 99.932% (30 bad, 0 unmeasured)",
        "1 Nov 2026 14:00: 100% (0 bad, 0 unmeasured)",
        "vod – failed requests: Stated once; no late data changed it.",
    )


def test_late_data_that_changed_no_figure_is_told_as_such():
    told = account()
    told["restated"] = {"times": 1, "minutes": 1, "last": "2026-11-01T05:12:00.000Z"}
    assert content(document(told), "en").restated == (
        "Late data changed 1 minutes, last at 1 Nov 2026 13:12.",
        "The figures stay as they were stated.",
    )


def test_an_ended_month_that_was_not_stated_says_so():
    waits = account(status="provisional")
    waits["statements"] = []
    said = content(document(waits, status="provisional"), "en").restated
    assert said == ("Not stated yet: history does not hold the whole month.",)


def test_minutes_that_are_not_counted_are_told_by_objective():
    moves = account(ALL_KINDS)
    steady = account(classes(), measure="cache_misses")
    attainment = content(document(moves, steady), "en").method[1]
    # A whole day without traffic, two hours of maintenance.
    assert "Minutes without traffic (vod – failed requests 24 h, vod – cache misses 0 min)" in attainment
    assert "maintenance (vod – failed requests 2 h, vod – cache misses 0 min)" in attainment
