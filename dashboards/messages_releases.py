"""Texts of the page on roll-outs: (English, Chinese)."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "page.releases": ("Releases", "发布"),
    "releases.empty": ("Nothing was rolled out in the last 30 days.", "近 30 天没有发布。"),
    "releases.empty_why": (
        "A roll-out is a change of kind firmware (with a model), application, or scheduling_rule.",
        "发布指类型为 firmware（含型号）、application 或 scheduling_rule 的变更。",
    ),
    "releases.empty_do": (
        "Record one: POST /v1/changes, or dipper changes.",
        "请登记：POST /v1/changes 或 dipper changes。",
    ),
    "releases.away": ("These pages do not judge roll-outs.", "这些页面不评判发布。"),
    "releases.away_do": ("Ask the feed instead: GET /v1/releases/ID.", "请改用接口：GET /v1/releases/ID。"),
    "releases.unknown": ("There is no roll-out of this name.", "没有此名称的发布。"),
    "releases.refused": ("{got}: expected {expected}", "{got}：应为 {expected}"),
    # verdicts
    "verdict.promote": ("promote", "推广"),
    "verdict.hold": ("hold", "暂停"),
    "verdict.roll back": ("roll back", "回滚"),
    "verdict.insufficient data": ("insufficient data", "数据不足"),
    "verdict.open": ("open it to judge it", "打开后评判"),
    "releases.sentence.promote": (
        "Promote {what}: it is shown not to be {margin} times as bad as what it replaces.",
        "可推广 {what}：已证明其故障未达被替换者的 {margin} 倍。",
    ),
    "releases.sentence.hold": (
        "Hold {what}: neither harm nor its absence is shown yet.",
        "暂停 {what}：有害与无害均未证明。",
    ),
    "releases.sentence.roll back": (
        "Roll back {what}: {bad} of {total} requests failed where {expected} were expected.",
        "回滚 {what}：{total} 个请求中 {bad} 个失败，预期 {expected}。",
    ),
    "releases.sentence.insufficient data": (
        "Too little data to judge {what} yet.",
        "数据不足，尚不能评判 {what}。",
    ),
    "releases.vanished": ("{gone} of its {boxes} boxes vanished.", "其 {boxes} 个节点中有 {gone} 个消失。"),
    "releases.list": ("Roll-outs, newest first", "发布，最近在前"),
    "releases.judged": ("judged from {start} to {end}", "评判区间 {start} 至 {end}"),
    "releases.since": ("{time} by {author}", "{time}，{author}"),
    "releases.what": ("{kind} {name}", "{kind} {name}"),
    # figures
    "releases.changed": ("Changed", "已变更"),
    "releases.unchanged": ("Matched unchanged", "匹配的未变更"),
    "releases.ratio": ("Bad / expected", "不良 / 预期"),
    "releases.ratio_note": ("{bad} where {expected} were expected", "{bad}，预期 {expected}"),
    "releases.gone": ("Boxes vanished", "消失节点"),
    "releases.gone_note": ("of {boxes}; {others} of {of} unchanged", "共 {boxes}；未变更 {of} 中 {others}"),
    "releases.bad_of": ("{bad} of {total} failed", "{total} 中失败 {bad}"),
    # charts
    "releases.rates": (
        "{changed} failed on what was changed, {expected} expected from matched unchanged traffic",
        "已变更部分失败 {changed}，按匹配的未变更流量预期 {expected}",
    ),
    "releases.no_rates": ("Nothing comparable was served yet", "尚无可比流量"),
    "releases.line": ("changed", "已变更"),
    "releases.line_expected": ("expected", "预期"),
    "releases.evidence": (
        "Evidence of harm {harm} of {harm_needed}, against it {fine} of {fine_needed}",
        "有害证据 {harm} / {harm_needed}，无害证据 {fine} / {fine_needed}",
    ),
    "releases.harm": ("harm", "有害"),
    "releases.fine": ("not {margin} times worse", "未差至 {margin} 倍"),
    "releases.enough_harm": ("enough: roll back", "足够：回滚"),
    "releases.enough_fine": ("enough: promote", "足够：推广"),
    "releases.axis_evidence": ("evidence (e-value)", "证据（e 值）"),
    # arithmetic
    "releases.arithmetic": ("The arithmetic", "计算"),
    "releases.matched_on": (
        "Both sides have in common: {names}, and five minutes.",
        "两侧相同：{names}，以及五分钟时段。",
    ),
    "releases.rule": (
        "Evidence multiplies over time and may be looked at any time: {harm} suffices to roll back, {fine} to promote.",
        "证据随时间相乘，可随时查看：达到 {harm} 即可回滚，{fine} 即可推广。",
    ),
    "releases.least": (
        "Below {requests} requests on either side, or {boxes} changed boxes, nothing is said but harm.",
        "任一侧少于 {requests} 个请求，或已变更节点少于 {boxes} 个时，除有害外不作判定。",
    ),
    "releases.left_out": (
        "{n} requests on what was changed had nothing comparable beside them and are left out.",
        "已变更部分有 {n} 个请求没有可比对象，未计入。",
    ),
    "releases.boxes_left_out": (
        "{boxes} changed boxes, {gone} of them vanished, had no other of their model, place and load and are left out.",
        "已变更节点中有 {boxes} 个（其中 {gone} 个消失）没有同型号、同地、同负载的可比节点，未计入。",
    ),
    "releases.groups": ("Where it was compared, most requests first", "比较范围，请求最多在前"),
    "releases.column.changed": ("Changed", "已变更"),
    "releases.column.unchanged": ("Unchanged", "未变更"),
    "releases.column.expected": ("Expected bad", "预期不良"),
    "match.load": ("load", "负载"),
}
