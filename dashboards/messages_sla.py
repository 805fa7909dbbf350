"""Texts of the page of service level reports: (English, Chinese). The report's own texts stand in report/words.py."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "page.sla": ("Service levels", "服务水平"),
    "sla.month": ("Month", "月份"),
    "sla.none": ("{name} has no service level yet.", "{name} 尚未约定服务水平。"),
    "sla.none_do": (
        "dipper objectives apply FILE adds them, from OpenSLO documents; docs/sla.md describes them.",
        "用 dipper objectives apply FILE 从 OpenSLO 文档添加；说明见 docs/sla.md。",
    ),
    "sla.share": ("Share", "分享"),
    "sla.share_is": (
        "A link that opens the report of {name} for {month} for 30 days, without an account, and nothing else.",
        "生成链接：30 天内无需账户即可打开 {name} {month} 的报告，且仅限该报告。",
    ),
    "sla.share_do": ("Make a link", "生成链接"),
    "sla.no_font": (
        "The PDF needs a font with Chinese letters on the server: fonts-noto-cjk.",
        "生成 PDF 需要服务器安装中文字体：fonts-noto-cjk。",
    ),
}
