"""Texts of the page on health scores: (English, Chinese)."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "page.scores": ("Box health", "节点健康"),
    "scores.removed": (
        "{drain} drained, {reduce} reduced, of {boxes} boxes with a score.",
        "{boxes} 个有评分的节点中，{drain} 个已排空，{reduce} 个流量已减。",
    ),
    "scores.none_removed": (
        "All {boxes} boxes with a score get their usual traffic.",
        "{boxes} 个有评分的节点流量均照常。",
    ),
    "scores.kept.one": (
        "1 more looks ill but serves on: the budget is used up, so the cause is likely elsewhere.",
        "另有 1 个疑似异常但仍在服务：预算已用尽，原因可能在别处。",
    ),
    "scores.kept": (
        "{n} more look ill but serve on: the budget is used up, so the cause is likely elsewhere.",
        "另有 {n} 个疑似异常但仍在服务：预算已用尽，原因可能在别处。",
    ),
    "scores.absent.one": (
        "1 more is not heard of, its score expired.",
        "另有 1 个已失联，评分已过期。",
    ),
    "scores.absent": (
        "{n} more are not heard of, their scores expired.",
        "另有 {n} 个已失联，评分已过期。",
    ),
    "scores.expired": (
        "The scores are {span} old and fade to neutral: the scheduler places as if there were none.",
        "评分已是 {span}前，正淡化为中性：调度器按无评分处理。",
    ),
    "scores.empty": ("No box has a score yet.", "尚无节点有评分。"),
    "scores.empty_why": (
        "Scores begin with the first minutes of evidence; a box without any counts as neutral, not as healthy.",
        "评分始于最初几分钟的证据；没有证据的节点视为中性，而非健康。",
    ),
    "scores.empty_do": (
        "This page fills by itself; if it does not, dipper doctor says which part is at fault.",
        "本页将自动填充；若长时间为空，dipper doctor 可指明环节。",
    ),
    "scores.away": ("These pages do not see the health scores.", "这些页面看不到健康评分。"),
    "scores.away_why": (
        "They are published by the process that follows the topic health.scores; this one does not.",
        "评分由订阅主题 health.scores 的进程提供；本进程未订阅。",
    ),
    "scores.away_do": (
        "Ask the feed instead: GET /v1/health/devices and /v1/health/strata (docs/health.md).",
        "请改用接口：GET /v1/health/devices 与 /v1/health/strata（docs/health.md）。",
    ),
    "scores.computed": ("scores of {time}", "评分时间 {time}"),
    # key figures
    "scores.figure.boxes": ("Boxes with a score", "有评分的节点"),
    "scores.figure.mean": ("mean value {value}", "平均值 {value}"),
    "scores.figure.reduce": ("Reduced", "减流"),
    "scores.figure.drain": ("Drained", "排空"),
    "scores.figure.of_boxes": ("{share} of boxes", "占节点 {share}"),
    "scores.figure.kept": ("Ill, kept by the budget", "疑病，因预算保留"),
    "scores.figure.kept_note": ("{n} cells exhausted", "{n} 个单元用尽"),
    "scores.figure.age": ("Scores' age", "评分时延"),
    "scores.figure.age_note": ("expire {span} after", "{span}后过期"),
    "list.join": ("; ", "；"),
    # states
    "score.state.serve": ("serves", "服务"),
    "score.state.reduce": ("reduced", "减流"),
    "score.state.drain": ("drained", "排空"),
    # distribution
    "scores.distribution": ("{share} of boxes have a value of at least 0.9", "{share} 的节点评分不低于 0.9"),
    "scores.distribution_none": ("No score is valid any more", "评分均已失效"),
    "scores.axis.value": ("value: 0 bad, 0.5 nothing known, 1 good", "评分：0 差，0.5 未知，1 好"),
    "scores.axis.boxes": ("boxes", "节点"),
    # boxes
    "scores.boxes": ("Boxes that get less than their usual traffic, worst first", "流量低于常态的节点，最差在前"),
    "scores.boxes_none": ("Every box gets its usual traffic.", "所有节点流量照常。"),
    "scores.boxes_more": (
        "and {more} more: GET /v1/health/devices?state=drain",
        "另有 {more} 个：GET /v1/health/devices?state=drain",
    ),
    "scores.column.state": ("State", "状态"),
    "scores.column.value": ("Value", "评分"),
    "scores.column.share": ("Share", "流量份额"),
    "scores.column.why": ("Why", "原因"),
    "scores.share_help": (
        "of its usual traffic; a drained box keeps a little as probes",
        "占其常态流量；排空的节点保留少量作探测",
    ),
    # budget
    "scores.budget": ("Removal budget, fullest first", "移除预算，最满在前"),
    "scores.budget_none": ("Nothing is removed anywhere.", "没有任何移除。"),
    "scores.column.cell": ("Region, ISP, customer", "地区、运营商、客户"),
    "scores.column.used": ("Used of allowed", "已用 / 上限"),
    "scores.column.wanted": ("Wanted", "所需"),
    "scores.budget_hover": (
        "{used} of the capacity is out, {allowed} may be, {wanted} would be without a budget; {boxes} boxes",
        "已移除容量 {used}，上限 {allowed}，若移除全部疑病节点则为 {wanted}；{boxes} 个节点",
    ),
    "scores.exhausted": ("exhausted", "用尽"),
    "scores.everywhere": ("everywhere", "全网"),
    "scores.budget_more": ("and {more} more cells", "另有 {more} 个单元"),
    # strata
    "scores.strata": ("Boxes by region and ISP, most removed first", "按地区与运营商，移除最多在前"),
    "scores.column.boxes": ("Boxes", "节点"),
    "scores.column.expired": ("Expired", "已过期"),
    "scores.column.mean": ("Mean value", "平均评分"),
    # one box
    "scores.find": ("One box's story", "单个节点"),
    "scores.find_hint": ("id of a box", "节点标识"),
    "scores.unknown_box": ("No box of this name has a score.", "没有此名称的节点评分。"),
    "scores.box": (
        "{device}: {state}, value {value} ({low} to {high})",
        "{device}：{state}，评分 {value}（{low} 至 {high}）",
    ),
    "scores.box_expired": (
        "{device}: score expired {span} ago and neutral since; it was {state}, value {value}",
        "{device}：评分已于 {span}前过期，此后为中性；原为{state}，评分 {value}",
    ),
    "scores.box_place": ("{model}, {isp}, {region}", "{model}，{isp}，{region}"),
    "scores.box_evidence": (
        "recently {failures} of {requests} requests failed where {expected} were expected",
        "近期 {requests} 个请求中 {failures} 个失败，预期 {expected}",
    ),
    "scores.box_over_time": (
        "{device} over {span}: {ratio} of its requests failed",
        "{device} 在 {span}内：{ratio} 的请求失败",
    ),
    "scores.box_silent": ("{device} served nothing in this range", "{device} 在该时段没有服务"),
    "scores.box_history": ("What became of its score", "评分变化"),
    "scores.box_calm": ("It has served its usual traffic ever since it is known.", "自纳入以来流量一直照常。"),
    "scores.vitals": ("Vital signs, {time}", "运行状况，{time}"),
    "scores.vitals_none": ("It has sent no vital signs in this range.", "该时段没有上报运行状况。"),
    "vital.cpu_ratio": ("processor busy", "处理器占用"),
    "vital.load1": ("load", "负载"),
    "vital.memory_used_ratio": ("memory used", "内存占用"),
    "vital.flash_used_ratio": ("flash used", "闪存占用"),
    "vital.flash_written_bytes": ("flash written, bytes", "闪存写入字节"),
    "vital.temperature_c": ("temperature, °C", "温度（°C）"),
    "vital.rx_bytes_per_s": ("received, B/s", "接收 B/s"),
    "vital.tx_bytes_per_s": ("sent, B/s", "发送 B/s"),
    "vital.uptime_s": ("up since", "运行时长"),
    "vital.reboots": ("machine starts", "开机次数"),
    "vital.clock_offset_ms": ("clock offset, ms", "时钟偏差（毫秒）"),
    # reasons
    "reason.failures": (
        "{failures} of {requests} requests failed, {expected} were expected ({ratio} times)",
        "{requests} 个请求中 {failures} 个失败，预期 {expected}（{ratio} 倍）",
    ),
    "reason.temperature": ("{temperature_c} °C", "{temperature_c} °C"),
    "reason.memory": ("{memory_used_ratio} of memory used", "内存占用 {memory_used_ratio}"),
    "reason.flash_full": ("{flash_used_ratio} of flash used", "闪存占用 {flash_used_ratio}"),
    "reason.flash_wear": (
        "{flash_written_gb_per_day} GB written to flash a day",
        "闪存每日写入 {flash_written_gb_per_day} GB",
    ),
    "reason.saturation": ("{cpu_ratio} of the processor busy", "处理器占用 {cpu_ratio}"),
    "reason.reboots": ("{reboots_per_hour} machine starts in an hour", "一小时内开机 {reboots_per_hour} 次"),
    "reason.clock": ("clock off by {clock_offset_s} s", "时钟偏差 {clock_offset_s} 秒"),
    "reason.no_evidence": ("{requests} requests: too few to judge", "{requests} 个请求：过少，无法判断"),
    "reason.stale_evidence": ("no requests for {minutes} min", "{minutes} 分钟没有请求"),
    "reason.waiting_for_evidence": (
        "returns on evidence: {gathered} of {needed} against a ratio of {ratio}",
        "凭证据恢复：{gathered} / {needed}，对应比值 {ratio}",
    ),
    "reason.slow_start": ("returning: {share} of its usual traffic", "恢复中：常态流量的 {share}"),
    "reason.budget": (
        "looks ill but serves on: more than {allowed} of the capacity of one of its cells would be out",
        "疑似异常但仍在服务：否则其所在单元移除的容量将超过 {allowed}",
    ),
}
