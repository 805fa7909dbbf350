"""What the pages of operations say: data health, rules, roll-outs, health scores; and boxes and coverage elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from contracts.entities import Change, SchedulingRule
from contracts.health import REASONS, Reason
from contracts.times import HOUR_MS, MINUTE_MS, minute_of
from dashboards import intake, matched, releases, rules, scores, triage
from dashboards.matched import Finding
from dashboards.shared import SharedReleases
from tests.dashboards.made_incidents import make_incident, make_incidents
from tests.dashboards.made_operations import (
    MadeReleases,
    MadeScores,
    make_intake,
    make_rollouts,
    make_rule_rows,
    make_score,
)
from tests.dashboards.synthetic import NOW, make_lens

START = minute_of(NOW) - HOUR_MS
DATA = make_intake(START, minute_of(NOW), MINUTE_MS, NOW)
THIN = "\u2009"


def plain(text: str) -> str:
    """With ordinary spaces."""
    return text.replace(THIN, " ").replace("\u00a0", " ").replace("\u202f", " ")


# ---- data health


def test_our_own_lag_is_said_before_anything_that_it_may_explain() -> None:
    lens = make_lens()
    assert intake.sentence(DATA, {"freshness_s": 13.0}, lens).startswith("99.66% of expected traffic was measured. 3 b")
    late = plain(intake.sentence(DATA, {"freshness_s": 240.0}, lens))
    assert late.startswith("Our own pipeline is 4 min late: what looks silent or unmeasured may only be late.")


def test_boxes_are_silent_by_the_kind_their_incident_found_and_else_not_told_yet() -> None:
    dark = next(i for i in make_incidents(NOW) if i.kind == "silence.region")  # box-0007 and box-0113, muted
    over = replace(dark, id="inc-9", kind="silence.agent", state="resolved", resolved_at=NOW, devices=("box-0500",))
    found = {row.kind: row for row in intake.by_kind(DATA, [dark, over])}
    assert (found["silence.region"].now, found["silence.region"].at_stake) == (2, 120.0)
    assert (found["silence.agent"].now, found["silence.agent"].ended) == (0, 1)
    assert found["unknown"].now == 1  # box-0300
    boxes = intake.silent_boxes(DATA, [dark], make_lens())
    assert boxes.index("box-0007") < boxes.index("box-0300")
    assert "/triage?incident=inc-3" in boxes
    assert "not told yet" in boxes


def test_refusals_show_their_reason_and_newest_examples_escaped() -> None:
    markup = intake.rejections(DATA, make_lens())
    assert markup.index("after_seal") < markup.index("bad_histogram")
    assert markup.count("wrong &lt;") == 3
    assert "<3>" not in markup


def test_a_stage_behind_its_normal_time_is_marked() -> None:
    lens = make_lens()
    assert "amber" not in intake.stages_table(DATA, None, lens)
    stopped = replace(DATA, stages=replace(DATA.stages, signal=NOW - 10 * MINUTE_MS))
    assert intake.stages_table(stopped, None, lens).count("amber") == 1
    assert "Health scores computed" in intake.stages_table(DATA, NOW - 11_000, lens)


def test_the_chart_of_coverage_names_its_lowest_step() -> None:
    assert plain(intake.coverage_title(DATA, make_lens())) == "1 min fell below 99% measured, lowest 80.0% at 12:01"
    full = replace(DATA, unmeasured=(0.0,) * len(DATA.unmeasured))
    assert intake.coverage_title(full, make_lens()) == "All expected traffic was measured"
    figure = intake.coverage_figure(DATA, make_lens(), "1h")
    assert min(v for v in figure["data"][2]["y"] if v is not None) == 80.0
    assert figure["layout"]["yaxis"]["range"][0] == 80.0


# ---- rules


def test_a_table_of_rules_shows_both_counts_and_says_why_it_does_not_know() -> None:
    found = matched.matches(make_rule_rows())
    known = {"near": SchedulingRule("near", 3, "Nearest", "cdn-team", 0)}
    markup = rules.rules_table(found, "near", known, make_lens())
    assert ">Nearest<" in markup
    assert "near · owner cdn-team" in markup
    assert markup.index('data-pick="near"') < markup.index('data-pick="far"')
    assert "nobody else serves the same" in markup
    near = found[0]
    assert f"{near.bad:,} of {near.requests:,} requests".replace(",", THIN) in markup


def test_an_interval_beyond_the_scale_ends_at_its_edge() -> None:
    found = matched.matches(make_rule_rows())[0]
    wide = replace(found, ratio=9.0, low=0.1, high=40.0)
    assert "left:0.0%;width:100.0%" in rules.interval(wide)
    assert 'class="dot" style="left:100.0%"' in rules.interval(wide)
    assert "none" in rules.interval(replace(found, ratio=None, low=None, high=None))


def test_changes_of_a_rule_are_recorded_ones_and_versions_registered_without_one() -> None:
    recorded = Change("c1", "scheduling_rule", {"sched_rule": "near@7"}, START, None, "wei")
    other = Change("c2", "scheduling_rule", {"sched_rule": "far@2"}, START + 1, None, "wei")
    versions = [
        SchedulingRule("near", 7, "", "ana", START), SchedulingRule("near", 8, "", "ana", START + 5 * MINUTE_MS),
    ]  # fmt: skip
    found = rules.changes_of("near", [recorded, other], versions, (START, START + HOUR_MS), make_lens())
    assert [(c.scope["sched_rule"], c.author) for c in found] == [("near@7", "wei"), ("near@8", "ana")]


@pytest.mark.parametrize("other_at", [None, START - 10 * MINUTE_MS, START + 50 * MINUTE_MS])
def test_a_registered_version_is_told_whatever_else_was_changed_and_only_inside_the_window(
    other_at: int | None,
) -> None:
    times = {1: 0, 2: START, 3: START + 30 * MINUTE_MS, 4: START + HOUR_MS}
    versions = [SchedulingRule("near", n, "", "ana", at) for n, at in times.items()]
    scope = {"sched_rule": "far@2"}
    others = [] if other_at is None else [Change("c2", "scheduling_rule", scope, other_at, None, "wei")]
    found = rules.changes_of("near", others, versions, (START, START + HOUR_MS), make_lens())
    assert [c.scope["sched_rule"] for c in found] == ["near@2", "near@3"]


def test_sides_of_a_change_end_at_its_neighbours_and_at_the_present() -> None:
    at = (START, START + 20 * MINUTE_MS, START + 58 * MINUTE_MS)
    changes = [Change(f"c{n}", "scheduling_rule", {}, t + 7_000, None, "wei") for n, t in enumerate(at)]
    newest = START + 60 * MINUTE_MS
    found = rules.around(changes, START - 30 * MINUTE_MS, newest)
    assert [one.change.id for one in found] == ["c2", "c1", "c0"]
    assert found[1].before == (at[0], at[1])
    assert found[1].after == (at[1], at[2])
    assert found[2].before == (START - 30 * MINUTE_MS, START)
    assert found[0].after == (at[2], newest)
    assert [one.young for one in found] == [True, False, False]


def test_a_version_is_told_with_both_ratios_and_their_quotient() -> None:
    one = rules.Around(
        Change("c1", "scheduling_rule", {"sched_rule": "near@8"}, START, None, "wei", "", "Prefer near"),
        (START - HOUR_MS, START), (START, START + HOUR_MS),
    )  # fmt: skip
    before, after = (make_rule_rows("near", worse=times) for times in (1.0, 3.0))
    found = matched.step(before, after, "near")
    assert found.finding is Finding.WORSE
    markup = rules.versions_table([(one, found), (one, None)], make_lens())
    assert "near@8 · Prefer near" in markup
    assert ">worse<" in markup
    assert "under 5 minutes of it" in markup


# ---- roll-outs


def test_each_verdict_has_its_sentence_in_both_languages() -> None:
    source = MadeReleases(NOW)
    said = [releases.sentence(source.judge(c.id), make_lens()) for c in source.recent()]
    assert plain(said[0]).startswith(
        "Roll back firmware 2.3.1: 2 708 of 8 910 requests failed where 32.0 were expected."
    )
    assert said[1] == "Promote application cdn: it is shown not to be 1.25 times as bad as what it replaces."
    assert said[2] == "Too little data to judge scheduling rule near@8 yet."
    assert releases.sentence(source.judge("rel-1"), make_lens("zh")).startswith("可推广 应用 cdn")


def test_cards_show_verdicts_as_far_as_they_are_known() -> None:
    markup = releases.cards(make_rollouts(NOW), {"rel-0": "roll back"}, "rel-0", make_lens())
    assert "▲ roll back" in markup
    assert markup.count("open it to judge it") == 2
    assert "model = m1" in markup


def test_evidence_is_drawn_with_what_is_enough_and_cut_at_the_scales_ends() -> None:
    release = MadeReleases(NOW).judge("rel-0")
    figure = releases.evidence_figure(release, make_lens())
    harm = figure["data"][0]["y"]
    assert max(harm) == 1e6
    assert [shape["y0"] for shape in figure["layout"]["shapes"]] == [100.0, 20.0]
    assert releases.evidence(5e303, make_lens()) == "> 10⁶"
    assert "Both sides have in common: model, box ISP, box region, load" in releases.arithmetic(release, make_lens())


def test_a_verdict_is_asked_for_once_for_all_viewers() -> None:
    asked: list[str] = []

    class Counted(MadeReleases):
        def judge(self, change_id: str):  # type: ignore[no-untyped-def]
            asked.append(change_id)
            return super().judge(change_id)

    now = [0.0]
    shared = SharedReleases(Counted(NOW), monotonic=lambda: now[0])
    assert shared.judge("rel-0") is shared.judge("rel-0")
    now[0] = 61.0
    shared.judge("rel-0")
    assert asked == ["rel-0", "rel-0"]


# ---- scores


def test_removed_boxes_come_worst_first_with_reasons_and_numbers() -> None:
    markup = scores.boxes_table(MadeScores(NOW).all(), "box-0113", make_lens())
    assert markup.index("box-0007") < markup.index("box-0113") < markup.index("box-0201x")
    assert f"40 of 1{THIN}200 requests failed, 4.0 were expected (10 times)" in markup
    assert "box-0200" not in markup


def test_every_reason_has_words_with_its_numbers_in_both_languages() -> None:
    for code, names in REASONS.items():
        reason = Reason(code, tuple(0.25 for _ in names))
        for language in ("en", "zh"):
            assert "{" not in scores.reason_text(reason, make_lens(language))
    assert scores.reason_text(Reason("budget", (0.2,)), make_lens()).endswith(
        "more than 20% of the capacity of one of its cells would be out"
    )


def test_expired_scores_say_that_the_scheduler_no_longer_heeds_them() -> None:
    found = scores.summary([make_score("box-1", NOW - 20 * MINUTE_MS, 0.01, "drain")], NOW)
    assert plain(scores.sentence(found, None, make_lens())).startswith("The scores are 20 min old and fade to neutral")


def test_a_box_that_is_not_heard_of_is_told_apart_once_its_score_expired() -> None:
    live, absent = make_score("box-1", NOW, 0.9), make_score("box-2", NOW - HOUR_MS, 0.1, "drain")
    lens = make_lens()
    found = scores.summary([live, absent], NOW)
    assert (found.boxes, found.states["drain"], found.expired, found.mean) == (1, 0, 1, 0.9)
    assert sum(map(sum, found.bins.values())) == 1
    said = "All 1 boxes with a score get their usual traffic. 1 more is not heard of, its score expired."
    assert scores.sentence(found, None, lens) == said
    chinese = scores.sentence(
        scores.summary([live, absent, replace(absent, device="box-3")], NOW), None, make_lens("zh")
    )
    assert chinese.endswith("另有 2 个已失联，评分已过期。")
    assert scores.removed([live, absent], NOW) == []
    assert "box-2" not in scores.boxes_table([live, absent], "", lens)


def test_a_place_whose_scores_all_expired_has_no_mean() -> None:
    markup = scores.strata_table([make_score("box-2", NOW - HOUR_MS, 0.1, "drain")], make_lens())
    assert re.findall(r'<td class="num[^"]*"[^>]*>([^<]*)</td>', markup) == ["0", "0", "0", "1", "–"]


def test_scores_that_all_expired_can_still_be_drawn() -> None:
    found, lens = scores.summary([make_score("box-2", NOW - HOUR_MS, 0.1, "drain")], NOW), make_lens()
    assert scores.distribution_figure(found, lens)["layout"]["annotations"] == []
    assert scores.distribution_title(found, lens) == "No score is valid any more"
    assert [figure.value for figure in scores.key_figures(found, None, lens)][:3] == ["0", "0", "0"]


def test_the_story_of_a_box_says_that_its_score_expired() -> None:
    score = make_score("box-2", NOW - HOUR_MS, 0.1, "drain")
    head = plain(scores.box_head(score, make_lens()))
    assert "box-2: score expired 50 min ago and neutral since; it was drained, value 0.10" in head
    assert "评分已于" in scores.box_head(score, make_lens("zh"))
    assert "expired" not in scores.box_head(make_score("box-1", NOW), make_lens())


def test_every_box_is_in_one_bin_and_an_exhausted_cell_is_marked() -> None:
    source = MadeScores(NOW)
    found = scores.summary(source.all(), NOW)
    assert sum(map(sum, found.bins.values())) == found.boxes == 43
    markup = scores.budget_table(source.budget(), make_lens(), {"c001": "Lark Live"})
    assert markup.index("hebei, unicom, Lark Live") < markup.index("everywhere")
    assert "35.0% · exhausted" in markup


# ---- boxes and coverage on other pages


def test_an_incident_counts_the_boxes_of_its_cause_or_the_silent_ones() -> None:
    incident = make_incident(NOW)
    where = triage.affected_where(incident)
    assert where["client_isp"] == ("China Unicom",)
    assert where["customer"] == ("c001", "c004", "c008")
    figure = triage.key_figures(incident, triage.Boxes(31, 24), make_lens())[2]
    assert (figure.value, figure.unit) == ("24", "failing, of 31 that serve it")
    silence = next(i for i in make_incidents(NOW) if i.kind == "silence.region")
    assert triage.key_figures(silence, None, make_lens())[2].value == "2"


def test_cards_name_the_kind_of_silence_and_its_boxes() -> None:
    silence = next(i for i in make_incidents(NOW) if i.kind == "silence.region")
    single = replace(silence, id="inc-8", kind="silence.box", where={}, devices=("box-0042",))
    markup = triage.cards([single], None, make_lens(), {})
    assert "box off" in markup
    assert "box-0042" in markup


def test_a_ratio_to_none_says_what_was_added() -> None:
    rows = make_rule_rows("near")
    rows |= {"others_bad": [0] * len(rows["rule"]), "others_weighted": [0.0] * len(rows["rule"])}
    (found,) = matched.matches(rows)
    said = plain(rules.sentence([found], "failures", make_lens()))
    assert said.startswith("Rule near serves worse than others: ")
    assert said.endswith(" One side had none: one bad request is added, shared out as requests are, so the ratio is a"
                         " cautious one.")  # fmt: skip
    shown = plain(rules.rules_table([found], "near", {}, make_lens()))
    assert 'title="One side had none: one bad request is added' in shown
    assert "others in the same strata: 0 of 360 000" in shown
    assert "一个不良请求" in rules.sentence([found], "failures", make_lens("zh"))
    both = matched.matches(make_rule_rows("near"))
    assert "is added" not in rules.sentence(both, "failures", make_lens())
