"""Every text of the report in both languages: (English, Chinese)."""

from __future__ import annotations

from dashboards.messages import LANGUAGES

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Service level report", "服务水平报告"),
    "page": ("Page {page} of {pages}", "第 {page} 页，共 {pages} 页"),
    "for_month": ("{month}, days of {zone}", "{month}，日期按 {zone}"),
    "as_of": ("as of {time}", "截至 {time}"),
    "status.open": ("Open: the month is still running", "进行中：本月尚未结束"),
    "status.provisional": (
        "Provisional until {time}: late data may still change it",
        "暂定至 {time}：迟到数据仍可能改变结果",
    ),
    "status.sealed": ("Sealed {time}: final", "已封存 {time}：最终结果"),
    # headline
    "head.met": ("All {total} objectives met.", "全部 {total} 项目标均已达成。"),
    "head.met.one": ("The objective was met.", "目标已达成。"),
    "head.met_known": (
        "{n} of {total} objectives met; for {k} nothing was measured.",
        "{total} 项目标中有 {n} 项已达成；{k} 项没有测得数据。",
    ),
    "head.missed": ("{n} of {total} objectives missed.", "{total} 项目标中有 {n} 项未达成。"),
    "head.missed.one": ("The objective was missed.", "目标未达成。"),
    "head.undecided": (
        "Whether {n} of {total} objectives were met cannot be told: too much was not measured.",
        "{total} 项目标中有 {n} 项无法判定：未测部分过多。",
    ),
    "head.undecided.one": (
        "Whether the objective was met cannot be told: too much was not measured.",
        "目标是否达成无法判定：未测部分过多。",
    ),
    "head.open": (
        "The month is running; {n} of {total} objectives missed already.",
        "本月进行中；{total} 项目标中已有 {n} 项未达成。",
    ),
    "head.open.good": ("The month is running; no objective is missed so far.", "本月进行中；目前没有未达成的目标。"),
    "head.no_data": ("Nothing was measured in this month.", "本月没有测得数据。"),
    "head.detail": (
        "{objective}: {attainment} of minutes were good, promised {target}.",
        "{objective}：{attainment} 的分钟良好，承诺 {target}。",
    ),
    "head.credit": ("Service credit due, of the month's fee: {list}.", "应付服务抵扣（占月费）：{list}。"),
    "credit.item": ("{credit} for {objective}", "{objective} {credit}"),
    "head.credit_none": ("No service credit is due.", "无应付服务抵扣。"),
    # objectives
    "objectives": ("Objectives", "目标"),
    "col.objective": ("Objective", "目标"),
    "col.promised": ("Promised", "承诺"),
    "col.attained": ("Attained", "达成"),
    "col.coverage": ("Measured", "已测"),
    "col.bad": ("Bad", "不良"),
    "col.unmeasured": ("Unmeasured", "未测"),
    "col.budget": ("Budget used", "预算使用"),
    "col.credit": ("Credit", "抵扣"),
    "col.verdict": ("Result", "结果"),
    "verdict.met": ("met", "达成"),
    "verdict.missed": ("missed", "未达成"),
    "verdict.undecided": ("cannot tell", "无法判定"),
    "verdict.open": ("open", "进行中"),
    "verdict.no_data": ("no data", "无数据"),
    "measure.failures": ("failed requests", "失败请求"),
    "measure.slow_requests": ("requests slower than {threshold}", "慢于 {threshold} 的请求"),
    "measure.slow_tasks": ("tasks longer than {threshold}", "长于 {threshold} 的任务"),
    "measure.stalled_sessions": ("sessions that stalled", "卡顿会话"),
    "measure.low_throughput": ("transfers below {threshold} kB/s", "低于 {threshold} kB/s 的传输"),
    "measure.cache_misses": ("cache misses", "缓存未命中"),
    "short.failures": ("failures", "失败"),
    "short.slow_requests": ("slow requests", "慢请求"),
    "short.stalled_sessions": ("stalls", "卡顿"),
    "short.low_throughput": ("slow transfers", "慢传输"),
    "short.cache_misses": ("cache misses", "缓存未命中"),
    "minutes": ("{n} min", "{n} 分钟"),
    "whole_hours": ("{h} h", "{h} 小时"),
    "hours": ("{h} h {m} min", "{h} 小时 {m} 分钟"),
    # days
    "calendar": ("Days of {objective}", "{objective} 的每日情况"),
    "calendar.key": ("number below the date: lost minutes", "日期下的数字：损失分钟数"),
    "key.good": ("no lost minute", "无损失"),
    "key.bad": ("bad minutes", "不良分钟"),
    "key.unmeasured": ("unmeasured minutes", "未测分钟"),
    "key.none": ("no traffic", "无流量"),
    "key.pending": ("to come", "未到"),
    "weekdays": ("Mon Tue Wed Thu Fri Sat Sun", "一 二 三 四 五 六 日"),
    # budget
    "budget": ("Error budget: {spent} of {allowed} used", "误差预算：{allowed}中已用 {spent}"),
    "budget.over": ("Error budget exceeded: {spent} of {allowed}", "误差预算超支：{spent}，允许 {allowed}"),
    "budget.axis": ("minutes left", "剩余分钟"),
    "budget.key": ("shaded: unmeasured minutes, if they were bad", "阴影：若未测分钟均为不良"),
    # lost minutes
    "lost": ("Lost minutes and their causes", "损失分钟及原因"),
    "lost.none": ("No minute was lost.", "没有损失分钟。"),
    "lost.more": ("and {n} more, {minutes} together: in the CSV and JSON", "另有 {n} 段，共 {minutes}：见 CSV 与 JSON"),
    "col.when": ("When", "时间"),
    "col.lost": ("Lost", "损失"),
    "col.what": ("What happened", "发生了什么"),
    "lost.bad": ("{bad} of {total} bad ({ratio})", "{total} 次中 {bad} 次不良（{ratio}）"),
    "lost.heard": ("{measured} of {placed} boxes heard at the least", "最少时 {placed} 个节点中 {measured} 个有上报"),
    "lost.dark": ("no box was heard", "没有节点上报"),
    "lost.incident": ("Incident {id}: {cause}", "事件 {id}：{cause}"),
    "lost.incidents": ("and {n} more incidents", "另有 {n} 个事件"),
    # causes, by the key of an incident's sentence
    "cause.quality.localised": (
        "{measures} at {factor} times the normal for {where}",
        "{where} 的{measures}为平常的 {factor} 倍",
    ),
    "cause.quality.diffuse": (
        "{measures} at {factor} times the normal, everywhere alike",
        "{measures}为平常的 {factor} 倍，各处相同",
    ),
    "cause.quality.unexplained": (
        "{measures} at {factor} times the normal; no cause could be told",
        "{measures}为平常的 {factor} 倍；原因无法判定",
    ),
    "cause.silence.box": ("{boxes} boxes off", "{boxes} 个节点关机"),
    "cause.silence.uplink": ("{boxes} boxes without uplink", "{boxes} 个节点上行中断"),
    "cause.silence.agent": ("agents of {boxes} boxes stopped", "{boxes} 个节点的代理停止"),
    "cause.silence.region": ("{where} dark: {share} of its boxes silent", "{where} 失联：{share} 的节点静默"),
    "cause.self.lag": ("our own measurement was late", "我方测量滞后"),
    "cause.self.test": ("our own self-test failed", "我方自检失败"),
    "cause.self.test.absent": ("our own self-test did not run", "我方自检未运行"),
    "cause.health.budget": ("too many boxes ill at once in {where}", "{where} 同时异常的节点过多"),
    "everywhere": ("everywhere", "各处"),
    # restatements, seal, method
    "restated": ("How the figures were restated", "数字的修订"),
    "restated.none": ("Stated once; no late data changed it.", "只发布过一次；迟到数据未改变结果。"),
    "restated.open": ("Figures are stated when the month has ended.", "月末之后发布数字。"),
    "restated.not_yet": ("Not stated yet: history does not hold the whole month.", "尚未发布：历史数据尚未覆盖整月。"),
    "restated.same": ("The figures stay as they were stated.", "所发布的数字保持不变。"),
    "restated.minutes": (
        "Late data changed {n} minutes, last at {time}.",
        "迟到数据改变了 {n} 个分钟，最后一次在 {time}。",
    ),
    "restated.line": (
        "{time}: {attainment} ({bad} bad, {unmeasured} unmeasured)",
        "{time}：{attainment}（不良 {bad}，未测 {unmeasured}）",
    ),
    "method": ("How this is measured", "测量方法"),
    "method.minute": (
        (
            "A minute is good when it keeps its objective even if everything unmeasured was bad, bad when it breaks it"
            " even if everything unmeasured was good, otherwise unmeasured. Of a minute's events at least so many must"
            " be good: {list}."
        ),
        (
            "若未测部分全部不良仍达到分钟目标，则该分钟良好；若未测部分全部良好仍未达到，则不良；否则为未测。"
            "每分钟至少须良好的比例：{list}。"
        ),
    ),
    "method.attainment": (
        (
            "Attainment is the share of good minutes among good, bad and unmeasured ones; its two ends take every"
            " unmeasured minute as bad, then as good. Minutes without traffic ({no_traffic}) and agreed maintenance"
            " ({excluded}) are not counted."
        ),
        (
            "达成率为良好分钟占良好、不良与未测分钟之和的比例；两端分别将未测分钟视为不良与良好。"
            "无流量分钟（{no_traffic}）与约定维护（{excluded}）不计入。"
        ),
    ),
    "method.late": (
        "Data up to 48 hours late restates figures; then the month is sealed and can no longer change.",
        "迟到不超过 48 小时的数据会修订数字；此后本月封存，不再改变。",
    ),
    "method.credits": ("Credits: {tiers}.", "抵扣：{tiers}。"),
    "method.tier": ("{credit} below {below}", "低于 {below} 为 {credit}"),
    "seal": ("Seal of {objective}: SHA-256 {sha256}", "{objective} 的封存：SHA-256 {sha256}"),
    "seal.check": (
        "The seal is the SHA-256 of the account in the JSON form; dipper report --verify FILE checks it.",
        "封存值为 JSON 中账目的 SHA-256；可用 dipper report --verify FILE 核对。",
    ),
    "of": ("{label}: {said}", "{label}：{said}"),
    "join": ("; ", "；"),
    "list": (", ", "、"),
}

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


class ReportWords:
    """The texts in one language: `words("key", name=value)`."""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else "en"
        self._column = list(LANGUAGES).index(self.language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, filled in; with total=1, that of its singular. Raises KeyError for an unknown key or a
        missing value."""
        if values.get("total") == 1 and f"{key}.one" in TEXTS:
            key = f"{key}.one"
        text = TEXTS[key][self._column]
        return text.format(**values) if values else text

    def month(self, year: int, month: int) -> str:
        """A month as a headline names it."""
        return f"{year}年{month}月" if self.language == "zh" else f"{MONTHS[month - 1]} {year}"
