"""Every text a page shows, in both languages, in one place. `Words` looks up and fills in; a key with a `.one`
sibling has a singular, chosen by the argument n. A message is (English, Chinese)."""

from __future__ import annotations

from dashboards import (
    messages_data,
    messages_explore,
    messages_people,
    messages_releases,
    messages_rules,
    messages_scores,
    messages_sla,
    messages_triage,
)

LANGUAGES = {"en": "English", "zh": "中文"}

MESSAGES: dict[str, tuple[str, str]] = {
    # frame
    "app.demo": ("Demo: a simulated fleet", "演示：模拟节点"),
    "page.overview": ("Overview", "总览"),
    "page.customer": ("Customer", "客户"),
    "page.ledger": ("Ledger", "账目"),
    "control.range": ("Time range", "时间范围"),
    "control.customer": ("Customer", "客户"),
    "control.service": ("Service", "业务"),
    "control.all_services": ("All services", "全部业务"),
    "control.language": ("Language", "语言"),
    "control.theme": ("Theme", "主题"),
    "control.show_all": ("Show all {count} customers", "显示全部 {count} 个客户"),
    "theme.System": ("Auto", "自动"),
    "theme.Light": ("Light", "浅色"),
    "theme.Dark": ("Dark", "深色"),
    "range.15m": ("15 minutes", "15 分钟"),
    "range.1h": ("1 hour", "1 小时"),
    "range.6h": ("6 hours", "6 小时"),
    "range.24h": ("24 hours", "24 小时"),
    "range.7d": ("7 days", "7 天"),
    "range.30d": ("30 days", "30 天"),
    "pipeline.title": ("Our pipeline", "数据管道"),
    "pipeline.freshness": ("Freshness", "数据时延"),
    "pipeline.freshness_is": (
        "from the end of the newest interval that can be queried to now; 5 to 15 s are normal",
        "从可查询的最新区间结束到现在；正常为 5 至 15 秒",
    ),
    "pipeline.stream": ("Stream minutes", "流式分钟"),
    "pipeline.stream_is": (
        "from the end of the newest minute the streams emitted to now; up to 2 min are normal",
        "从流式作业输出的最新分钟结束到现在；2 分钟以内为正常",
    ),
    "pipeline.fresh": ("fresh", "及时"),
    "pipeline.lag": ("Not yet stored", "等待入库"),
    "pipeline.rejected": ("Rejected, last hour", "近一小时拒收"),
    "pipeline.late": ("late", "滞后"),
    "pipeline.none_waiting": ("nothing", "无"),
    "pipeline.at": ("as of {time}", "截至 {time}"),
    "no_data": ("no data", "无数据"),
    "ago": ("{span} ago", "{span}前"),
    "zone": ("times in {zone}", "时间为 {zone}"),
    "covered": ("{coverage} measured", "已测 {coverage}"),
    "present.span": ("now = {start} to {end}", "当前 = {start} 至 {end}"),
    "step.span": ("steps of {span}", "步长 {span}"),
    "live": ("refreshed every {span}", "每 {span}刷新"),
    "offline": (
        "⚠ Connection lost: the figures stand still until the server answers again.",
        "⚠ 连接中断：服务恢复前，数字不再更新。",
    ),
    # states of a customer
    "state.below": ("below objective", "未达标"),
    "state.undecided": ("cannot tell", "无法判定"),
    "state.within": ("within objective", "达标"),
    "state.no_objective": ("no objective", "未设目标"),
    "state.no_traffic": ("no traffic", "无流量"),
    "state.not_judged": ("not judged", "未判定"),
    # overview
    "overview.below.one": (
        "{name} is below its objective: {ratio} of requests fail, promised at most {limit}.",
        "{name} 未达标：{ratio} 的请求失败，承诺不超过 {limit}。",
    ),
    "overview.below": (
        "{n} of {total} customers are below their objective, worst {name}: {ratio} fail, promised at most {limit}.",
        "{total} 个客户中有 {n} 个未达标，最差为 {name}：{ratio} 的请求失败，承诺不超过 {limit}。",
    ),
    "overview.within.one": (
        "The one customer with traffic is within its objective: {ratio} of requests fail.",
        "唯一有流量的客户达标：{ratio} 的请求失败。",
    ),
    "overview.within": (
        "All {n} customers with traffic are within objective: {ratio} of requests fail.",
        "有流量的 {n} 个客户全部达标：{ratio} 的请求失败。",
    ),
    "overview.no_objectives": (
        "{ratio} of requests fail; no customer has an objective for failures yet.",
        "{ratio} 的请求失败；尚无客户设置失败率目标。",
    ),
    "overview.none_below.one": (
        "No customer is below its objective, 1 is surely within it; {ratio} of requests fail.",
        "没有客户未达标，1 个确定达标；{ratio} 的请求失败。",
    ),
    "overview.none_below": (
        "No customer is below its objective, {n} are surely within it; {ratio} of requests fail.",
        "没有客户未达标，{n} 个确定达标；{ratio} 的请求失败。",
    ),
    "overview.others": ("{n} others", "其他 {n} 个"),
    "sentence.join": (" ", ""),
    "sentence.aside": (" ({text})", "（{text}）"),
    "overview.undecided.one": ("For 1 the data cannot tell.", "1 个客户的数据不足以判定。"),
    "overview.undecided": ("For {n} the data cannot tell.", "{n} 个客户的数据不足以判定。"),
    "overview.no_traffic": ("No customer has traffic now.", "目前没有客户有流量。"),
    "overview.measured": ("{coverage} of expected traffic is measured.", "预期流量已测 {coverage}。"),
    "overview.customers": ("Customers, worst first", "客户，最差在前"),
    "overview.legend": (
        "Failure ratio over {range}; dashed: objective; amber: less than 99% measured; hatched: no data",
        "{range}内的失败率；虚线：目标；琥珀色：已测不足 99%；斜纹：无数据",
    ),
    "overview.change": ("change: {against}", "变化：{against}"),
    "overview.by_isp": ("Boxes by ISP", "按运营商"),
    "overview.by_region": ("Boxes by region", "按地区"),
    "overview.group_finding": (
        "{name} fails most: {ratio} against {rest} elsewhere",
        "{name} 失败最多：{ratio}，其余为 {rest}",
    ),
    "overview.group_even": ("No group stands out: {ratio} fail", "无明显差异：失败率 {ratio}"),
    "column.customer": ("Customer", "客户"),
    "column.trend": ("Failing, {start} to {end}", "失败率，{start} 至 {end}"),
    "column.now": ("Failing now", "当前失败率"),
    "column.change": ("Change, pp", "变化（百分点）"),
    "column.limit": ("Objective", "目标"),
    "column.p95": ("Latency p95", "延迟 p95"),
    "column.traffic": ("Requests/min", "请求/分钟"),
    "column.coverage": ("Measured", "已测"),
    "column.isp": ("ISP of the box", "节点运营商"),
    "column.region": ("Region of the box", "节点地区"),
    "column.failing": ("Failing", "失败率"),
    "column.boxes": ("Boxes seen", "在线节点"),
    "column.silent": ("Silent", "静默"),
    "against.week": ("against the same time last week", "与上周同一时间相比"),
    "against.day": ("against the same time yesterday", "与昨天同一时间相比"),
    "against.hour": ("against an hour ago", "与一小时前相比"),
    "hover.bad_of": ("{failures} of {requests}", "{requests} 中 {failures}"),
    "hover.counts": ("{failures} of {requests} failed", "{requests} 次中失败 {failures} 次"),
    # key figures
    "figure.failing": ("Failing now", "当前失败率"),
    "figure.traffic": ("Traffic", "流量"),
    "figure.per_minute": ("requests/min", "请求/分钟"),
    "figure.latency": ("Latency p95", "延迟 p95"),
    "figure.coverage": ("Measured", "已测"),
    "figure.of_expected": ("of expected traffic", "占预期流量"),
    "figure.boxes": ("Boxes reporting", "上报节点"),
    "figure.silent": ("{n} silent", "{n} 个静默"),
    "figure.none_silent": ("none silent", "无静默"),
    "figure.objective": ("Objective", "目标"),
    "figure.may_fail": ("of requests may fail", "请求可失败的上限"),
    "figure.latency_note": ("95% of requests are faster", "95% 的请求更快"),
    # customer
    "customer.below": (
        "{name} is below its objective since {since}: {ratio} of requests fail, promised at most {limit}.",
        "{name} 自 {since} 起未达标：{ratio} 的请求失败，承诺不超过 {limit}。",
    ),
    "customer.within": (
        "{name} is within its objective: {ratio} of requests fail, promised at most {limit}.",
        "{name} 达标：{ratio} 的请求失败，承诺不超过 {limit}。",
    ),
    "customer.undecided": (
        "Whether {name} is within its objective cannot be told: {why}.",
        "无法判定 {name} 是否达标：{why}。",
    ),
    "customer.why_coverage": (
        "{coverage} of its traffic is measured, and the rest could decide it",
        "其流量测得 {coverage}，未测部分可左右结论",
    ),
    "customer.why_few": (
        "{failures} of {requests} failed, which chance alone explains",
        "{requests} 次中失败 {failures} 次，可能出于偶然",
    ),
    "customer.no_objective": (
        "{ratio} of {name}'s requests fail; it has no objective for failures.",
        "{name} 的 {ratio} 请求失败；未设失败率目标。",
    ),
    "customer.no_traffic": ("{name} has no traffic now.", "{name} 目前没有流量。"),
    "chart.failures.peak": (
        "Failures peaked at {ratio} at {time}, {times} times the objective",
        "失败率在 {time} 达到峰值 {ratio}，为目标的 {times} 倍",
    ),
    "chart.failures.calm": (
        "Failures stayed within the objective, at most {ratio} at {time}",
        "失败率始终未超目标，最高 {ratio}（{time}）",
    ),
    "chart.failures.plain": ("Failures were at most {ratio}, at {time}", "失败率最高 {ratio}（{time}）"),
    "chart.failures.none": ("No failures in this range", "该时段无失败"),
    "chart.latency": (
        "Half of requests took under {p50}, 1 in 20 over {p95} (medians over the range)",
        "半数请求低于 {p50}，二十分之一高于 {p95}（时段中位数）",
    ),
    "chart.coverage.full": (
        "{coverage} of expected traffic was measured, never under 99%",
        "预期流量测得 {coverage}，从未低于 99%",
    ),
    "chart.no_latency": ("No latency was measured in this range", "该时段没有延迟数据"),
    "chart.coverage.all": ("All expected traffic was measured", "预期流量全部测得"),
    "chart.coverage.thin": (
        "{coverage} of expected traffic was measured; {span} fell below 99%",
        "预期流量测得 {coverage}；{span}低于 99%",
    ),
    "chart.traffic": (
        "{rate} requests/min on average; {errors} answered 5xx",
        "平均 {rate} 次请求/分钟；5xx 占 {errors}",
    ),
    "chart.no_data": ("No data in this range", "该时段无数据"),
    "axis.time": ("time in {zone}", "时间，{zone}"),
    "per_minute": ("/min", "/分钟"),
    "axis.failing": ("failing, %", "失败率，%"),
    "axis.latency": ("ms", "毫秒"),
    "axis.coverage": ("measured, %", "已测，%"),
    "axis.traffic": ("requests/min", "请求/分钟"),
    "axis.objective": ("objective {limit}", "目标 {limit}"),
    "trace.failing": ("failing", "失败率"),
    "trace.coverage": ("measured", "已测"),
    "trace.unmeasured": ("less than 99% measured", "已测不足 99%"),
    "trace.empty": ("no data", "无数据"),
    "hover.coverage": ("{requests} measured, about {unmeasured} not", "测得 {requests}，约 {unmeasured} 未测"),
    "changes.title": ("What people changed in this range", "该时段内的变更"),
    "changes.none": ("No changes are recorded in this range.", "该时段没有变更记录。"),
    "changes.everything": ("everything", "全部"),
    "column.when": ("When", "时间"),
    "column.kind": ("Kind", "类型"),
    "column.scope": ("Scope", "范围"),
    "column.who": ("Who", "操作人"),
    "column.note": ("Note", "说明"),
    "kind.firmware": ("firmware", "固件"),
    "kind.scheduling_rule": ("scheduling rule", "调度规则"),
    "kind.configuration": ("configuration", "配置"),
    "kind.application": ("application", "应用"),
    "kind.maintenance": ("maintenance", "维护"),
    "kind.self_test": ("self-test", "自检"),
    "kind.other": ("other", "其他"),
    # ledger
    "ledger.clean": (
        "Every one of {total} reported requests is accounted for; nothing is lost.",
        "{total} 个上报请求逐一有账，无一丢失。",
    ),
    "ledger.pending": (
        "Nothing is lost; {pending} of {total} reported requests are still on their boxes.",
        "无丢失；{total} 个上报请求中有 {pending} 个仍在节点上。",
    ),
    "ledger.lost.one": (
        "{lost} of {total} reported requests are lost without a declaration, in one gap.",
        "{total} 个上报请求中有 {lost} 个未经申报而丢失，共 1 段缺口。",
    ),
    "ledger.lost": (
        "{lost} of {total} reported requests are lost without a declaration, in {n} gaps.",
        "{total} 个上报请求中有 {lost} 个未经申报而丢失，共 {n} 段缺口。",
    ),
    "ledger.unbalanced": (
        "The books do not balance: {requests} requests and {slices} slices cannot be placed.",
        "账目不平：{requests} 个请求和 {slices} 个切片去向不明。",
    ),
    "ledger.disagreeing.one": (
        "The books balance, but 1 minute's sums contradict the stored rows: a fault of ours.",
        "账目平，但有 1 个分钟的汇总与已存数据矛盾：这是我们的故障。",
    ),
    "ledger.disagreeing": (
        "The books balance, but {n} minutes' sums contradict the stored rows: a fault of ours.",
        "账目平，但有 {n} 个分钟的汇总与已存数据矛盾：这是我们的故障。",
    ),
    "ledger.dirty.one": ("1 minute is being summed anew", "1 个分钟正在重新汇总"),
    "ledger.dirty": ("{n} minutes are being summed anew", "{n} 个分钟正在重新汇总"),
    "ledger.unheaded": (
        "{count} requests are stored ahead of their report's header, and not in these sums yet",
        "{count} 个请求先于其上报头入库，尚未计入",
    ),
    "ledger.doubled": (
        "{doubled} of {total} reported requests and {slices} slices are counted twice.",
        "{total} 个上报请求中有 {doubled} 个、另有 {slices} 个切片被重复计数。",
    ),
    "ledger.empty": ("No box has reported yet, so there is nothing to account for.", "尚无节点上报，暂无账目。"),
    "ledger.empty_why": (
        "The books open with the first report; refusals are listed below all the same.",
        "首个上报到达后开始记账；拒收仍列于下方。",
    ),
    "ledger.scope": ("everything since the first report", "自首个上报以来的全部数据"),
    "ledger.equation": ("What came in equals what became of it", "来账等于去账"),
    "ledger.inequation": ("What came in does not equal what became of it", "来账不等于去账"),
    "ledger.balanced": ("balanced", "平"),
    "ledger.off_by": ("off by {difference}", "差 {difference}"),
    "ledger.note": (
        "What a box counted after its last report and never sent is unknowable; its last report is stated below.",
        "节点最后一次上报之后所计而未发送的数据无从得知；其最后上报时间列于下表。",
    ),
    "ledger.requests": ("requests", "请求"),
    "ledger.slices": ("slices", "切片"),
    "term.reported": ("reported", "上报"),
    "term.double_counted": ("double counted", "重复计数"),
    "term.stored": ("stored", "入库"),
    "term.rejected": ("rejected", "拒收"),
    "term.declared_dropped": ("declared dropped", "申报丢弃"),
    "term.pending": ("pending", "待传"),
    "term.lost": ("lost", "丢失"),
    "term.reported.help": ("newest cumulative totals the boxes stated", "节点声明的最新累计值"),
    "term.double_counted.help": ("stored more than once", "重复入库"),
    "term.stored.help": ("what queries return", "查询所得"),
    "term.rejected.help": ("refused, with a reason", "拒收，均有原因"),
    "term.declared_dropped.help": ("the box said it dropped them", "节点申报丢弃"),
    "term.pending.help": ("still on the box", "仍在节点上"),
    "term.lost.help": ("gone, and nobody declared it", "丢失且未申报"),
    "ledger.devices": ("Boxes, most troubled first", "节点，问题多者在前"),
    "ledger.devices_some": (
        "{shown} of {total} boxes; dipper ledger --json lists them all",
        "{total} 个节点中的 {shown} 个；全部见 dipper ledger --json",
    ),
    "ledger.lost_ranges": ("Lost reports", "丢失的上报"),
    "ledger.lost_none": ("No report is missing below what its box still holds.", "没有节点已不再保存的缺失上报。"),
    "ledger.lost_more": (
        "and {more} more gaps: dipper ledger --json lists them all",
        "另有 {more} 段：见 dipper ledger --json",
    ),
    "ledger.refusals": ("Rejected, by reason", "拒收原因"),
    "ledger.refusals_none": ("Nothing was rejected.", "无拒收。"),
    "ledger.refusals_do": (
        "dipper rejected list, show and replay work on the refused bytes.",
        "可用 dipper rejected list、show、replay 处理被拒数据。",
    ),
    "column.box": ("Box", "节点"),
    "column.boots": ("Starts", "启动次数"),
    "column.last_seen": ("Last report", "最后上报"),
    "column.boot": ("Start id", "启动标识"),
    "column.gap": ("Missing reports", "缺失上报"),
    "column.reason": ("Reason", "原因"),
    "column.reports": ("Refusals", "拒收次数"),
    "column.newest": ("Newest", "最近"),
    "column.requests": ("Requests", "请求"),
    # stale, empty, error
    "stale.notice": (
        'No new data for {span}: the newest is of {time}. Figures called "now" are of that time.',
        "已 {span}没有新数据：最新为 {time}。下文“当前”均指彼时。",
    ),
    "late.notice": (
        "History is late: the newest data is {span} old, 5 to 15 s are normal. The last minutes are not complete yet.",
        "历史数据滞后：最新数据已是 {span}前，正常为 5 至 15 秒。最近几分钟尚不完整。",
    ),
    "late.do": (
        "Boxes may report late, or our own pipeline may: dipper doctor says which part.",
        "可能是节点上报滞后，也可能是我们自身的管道滞后：dipper doctor 可指明环节。",
    ),
    "fresh.detail": ("freshness {span}", "数据时延 {span}"),
    "stale.do": (
        "Check the pipeline: dipper doctor. Quality is not judged on data this old.",
        "请检查管道：dipper doctor。数据过旧，不作质量判定。",
    ),
    "stale.sentence": (
        "Nothing is known about quality now: the newest data is {span} old.",
        "当前质量未知：最新数据已是 {span}前。",
    ),
    "empty.sentence": ("No data in the last {range}.", "最近 {range}没有数据。"),
    "empty.why": (
        "No box has reported in this time range, so there is nothing to show; that is not the same as good.",
        "该时段没有节点上报，无可显示；这并不等于质量良好。",
    ),
    "empty.do_demo": (
        "The simulated fleet sends its first reports a few seconds after the start; this page fills by itself.",
        "模拟节点会在启动几秒后开始上报；本页将自动填充。",
    ),
    "empty.do": (
        "Enrol a box (docs/agent.md), check the installation with dipper doctor, or choose a longer range.",
        "请接入节点（docs/agent.md），用 dipper doctor 检查安装，或选择更长的时间范围。",
    ),
    "empty.customers": ("No customer is registered yet.", "尚未登记客户。"),
    "empty.customers_do": (
        "Add one: dipper customers add. Traffic of unknown customers is rejected, with that reason.",
        "请添加：dipper customers add。未知客户的流量会以此原因拒收。",
    ),
    "error.store": ("History does not answer.", "历史库没有响应。"),
    "error.store_why": (
        "The pages read from history, which is away or overloaded; boxes keep reporting meanwhile.",
        "页面读取历史库，而历史库不可用或过载；其间节点照常上报。",
    ),
    "error.store_do": (
        "This page tries again by itself. If it lasts, run dipper doctor.",
        "本页会自动重试。若持续，请运行 dipper doctor。",
    ),
    "error.not_ready": ("The pages have no data source yet.", "页面尚未接入数据源。"),
    "error.not_ready_do": ("Start them with dipper demo or dipper up.", "请用 dipper demo 或 dipper up 启动。"),
    "error.page": ("This page could not be drawn.", "本页无法显示。"),
    "error.page_why": (
        "That is a fault of ours; the log holds its details under {reference}.",
        "这是我们的故障；详情见日志，编号 {reference}。",
    ),
    "error.page_do": ("The other pages still work.", "其他页面仍可使用。"),
    **messages_data.MESSAGES,
    **messages_explore.MESSAGES,
    **messages_people.MESSAGES,
    **messages_releases.MESSAGES,
    **messages_rules.MESSAGES,
    **messages_scores.MESSAGES,
    **messages_sla.MESSAGES,
    **messages_triage.MESSAGES,
}


class Words:
    """The catalogue in one language: `words("key", name=value)`."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else "en"
        self._column = list(LANGUAGES).index(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, filled in. Raises KeyError for an unknown key or a missing value."""
        if values.get("n") in (1, "1") and f"{key}.one" in MESSAGES:
            key = f"{key}.one"
        text = MESSAGES[key][self._column]
        return text.format(**values) if values else text

    def template(self, key: str) -> str:
        """The text of a key with its places left open, for code that fills it in the browser."""
        return MESSAGES[key][self._column]
