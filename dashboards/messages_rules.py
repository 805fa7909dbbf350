"""Texts of the page on scheduling rules: (English, Chinese)."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "page.rules": ("Rules", "调度规则"),
    "rules.worse.one": (
        "Rule {name} serves worse than others: {times} times their {measure} on the same traffic ({low} to {high}).",
        "规则 {name} 劣于其他规则：相同流量上{measure}为其 {times} 倍（{low} 至 {high}）。",
    ),
    "rules.worse": (
        "{n} rules serve worse than others, first {name}: {times} times their {measure} on the same traffic.",
        "{n} 条规则劣于其他规则，首先是 {name}：相同流量上{measure}为其 {times} 倍。",
    ),
    "rules.none_worse": (
        "No rule is shown to serve worse than the others on the same traffic.",
        "没有规则被证明在相同流量上劣于其他规则。",
    ),
    "rules.added": (
        "One side had none: one bad request is added, shared out as requests are, so the ratio is a cautious one.",
        "一方没有不良请求：按请求量分摊加入一个不良请求，比值因此偏保守。",
    ),
    "rules.unknown.one": ("Of 1 the data cannot tell.", "1 条的数据不足以判定。"),
    "rules.unknown": ("Of {n} the data cannot tell.", "{n} 条的数据不足以判定。"),
    "rules.empty": ("No traffic of any scheduling rule in this range.", "该时段没有任何调度规则的流量。"),
    "rules.matched.hour": (
        "matched by customer, service, client ISP and region within the hour",
        "按客户、业务、客户端运营商与地区在同一小时内匹配",
    ),
    "rules.matched.day": (
        "matched by customer, service, client ISP and region within the day",
        "按客户、业务、客户端运营商与地区在同一天内匹配",
    ),
    "rules.table": ("Every rule against all others on the same traffic", "每条规则与其他规则在相同流量上的比较"),
    "rules.legend": (
        "Bar: 95% interval of the ratio, dot: the ratio; left of the line fewer bad than others, right of it more",
        "横条：比值的 95% 区间，圆点：比值；线左侧少于其他规则，右侧多于其他规则",
    ),
    "rules.column.rule": ("Rule", "规则"),
    "rules.column.finding": ("Finding", "结论"),
    "rules.column.ratio": ("Ratio", "比值"),
    "rules.column.interval": ("¼ to 4 times the others", "其他规则的 ¼ 至 4 倍"),
    "rules.column.own": ("Its own", "自身"),
    "rules.column.others": ("Others", "其他"),
    "rules.column.excess": ("Excess bad", "超出不良"),
    "rules.column.matched": ("Matched", "已匹配"),
    "rules.column.places": ("Places", "地点"),
    "rules.finding.worse": ("worse", "更差"),
    "rules.finding.better": ("better", "更好"),
    "rules.finding.alike": ("alike", "相当"),
    "rules.unknown_word": ("don't know", "不知道"),
    "rules.finding.open": ("chance may explain it", "可能出于偶然"),
    "rules.finding.few_places": ("too few places", "地点过少"),
    "rules.finding.few_bad": ("too few bad requests", "不良请求过少"),
    "rules.finding.unmatched": ("nobody else serves the same", "无其他规则可比"),
    "rules.finding.young": ("under 5 minutes of it", "不足 5 分钟"),
    "rules.own_hover": (
        "{bad} of {total} requests, in traffic that others served too",
        "{total} 中 {bad}，限其他规则也承接的流量",
    ),
    "rules.others_hover": (
        "others in the same strata: {bad} of {total}; weighted as this rule's traffic: {weighted} against {own}",
        "相同分层内的其他规则：{total} 中 {bad}；按本规则流量加权：{weighted} 比 {own}",
    ),
    "rules.excess_help": ("bad beyond what others' quality would have given", "超出按其他规则质量应有的不良数"),
    "rules.matched_help": (
        "{matched} of {all} requests are in strata that other rules served too",
        "{all} 个请求中有 {matched} 个所在分层亦有其他规则承接",
    ),
    "rules.note": (
        "Intervals allow for how much places differ; false discoveries 5%. Rules found worse are none of the others.",
        "区间已计入地点差异；错误发现率 5%。已判为更差的规则不计入“其他规则”。",
    ),
    "rules.over_time": (
        "{name}: {own} against {others} of all other rules on the same traffic",
        "{name}：{own}，其他规则在相同流量上为 {others}",
    ),
    "rules.over_time_alone": ("{name}: no other rule serves the same traffic", "{name}：没有其他规则承接相同流量"),
    "rules.line": ("this rule", "本规则"),
    "rules.line_others": ("others, same traffic", "其他规则，相同流量"),
    "rules.versions": ("Before and after each change of this rule", "本规则每次变更前后"),
    "rules.versions_none": (
        "No change of this rule is recorded in this range; take a longer one.",
        "该时段没有本规则的变更记录；请选择更长时段。",
    ),
    "rules.column.change": ("Change", "变更"),
    "rules.column.before": ("Ratio before", "变更前比值"),
    "rules.column.after": ("Ratio after", "变更后比值"),
    "rules.column.times": ("After / before", "后 / 前"),
    "rules.version_hover": (
        "{start} to {end}: {bad} of {total}, others {others_bad} of {others_total}",
        "{start} 至 {end}：{total} 中 {bad}，其他规则 {others_total} 中 {others_bad}",
    ),
    "rules.versions_note": (
        "Up to an hour on either side, up to the rule's next change; what changed for others as well is taken out.",
        "前后各至多一小时，不超过本规则的下一次变更；已扣除其他规则同期的变化。",
    ),
    "rules.registered": ("version {version} registered", "登记版本 {version}"),
    "rules.owner": ("owner {owner}", "负责人 {owner}"),
    "rules.explore": ("its traffic in Explore", "在探索中查看其流量"),
}
