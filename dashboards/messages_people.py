"""Texts of logging in and of accounts: (English, Chinese)."""

from __future__ import annotations

MESSAGES: dict[str, tuple[str, str]] = {
    "page.accounts": ("Accounts", "账户"),
    "accounts.sentence": ("{n} people may log in with an account of ours.", "{n} 人可用本地账户登录。"),
    "accounts.sentence.one": ("{n} person may log in with an account of ours.", "{n} 人可用本地账户登录。"),
    "accounts.none": ("Nobody has an account of ours.", "没有本地账户。"),
    "accounts.do": (
        "dipper users add, passwd, role, disable and remove on the server change them (docs/accounts.md).",
        "在服务器上用 dipper users add、passwd、role、disable、remove 更改（docs/accounts.md）。",
    ),
    "accounts.name": ("Name", "用户名"),
    "accounts.role": ("Role", "角色"),
    "accounts.customer": ("Customer", "客户"),
    "accounts.state": ("State", "状态"),
    "accounts.since": ("Since", "创建于"),
    "accounts.open": ("open", "启用"),
    "accounts.closed": ("closed since {time}", "自 {time} 停用"),
    "login.title": ("Log in to Dipper", "登录 Dipper"),
    "login.name": ("Name", "用户名"),
    "login.password": ("Password", "密码"),
    "login.do": ("Log in", "登录"),
    "login.or": ("or", "或"),
    "login.sso": ("Continue with {name}", "使用 {name} 登录"),
    "login.provider": ("your organisation", "组织账号"),
    "login.wrong": ("That name and password do not belong together.", "用户名与密码不匹配。"),
    "login.wait": (
        "Too many wrong passwords for this name. Try again in {n} seconds.",
        "该用户名密码错误次数过多。请在 {n} 秒后重试。",
    ),
    "login.wait.one": (
        "Too many wrong passwords for this name. Try again in {n} second.",
        "该用户名密码错误次数过多。请在 {n} 秒后重试。",
    ),
    "login.busy": ("Many log in right now. Try again in a moment.", "当前登录人数较多。请稍后重试。"),
    "login.foreign": (
        "That came from another page. Log in from here.",
        "该请求来自其他页面。请在此处登录。",
    ),
    "login.no_account": (
        "There is no account yet. On the server, dipper users add NAME --role admin makes the first.",
        "尚无账户。请在服务器上运行 dipper users add 名称 --role admin 创建第一个。",
    ),
    "login.stranger": ("You have no access here.", "您没有访问权限。"),
    "login.stranger_why": (
        "{name} is known to your organisation, but has no role in Dipper. Ask whoever runs it.",
        "组织认识 {name}，但其在 Dipper 中没有角色。请联系管理员。",
    ),
    "login.other": ("Log in as somebody else", "用其他账号登录"),
    "login.ended": ("You are logged out.", "您已退出登录。"),
    "login.ended_why": (
        "The session is over, or the account was changed or closed.",
        "会话已结束，或账户已被更改或关闭。",
    ),
    "login.again": ("Log in", "登录"),
    "login.leave": ("Log out", "退出登录"),
    "person.role.viewer": ("viewer", "查看者"),
    "person.role.operator": ("operator", "操作员"),
    "person.role.admin": ("admin", "管理员"),
    "person.role.customer": ("customer", "客户"),
    "person.nobody": (
        "Nobody has an account: whoever reaches this page acts as the local operator.",
        "尚无账户：能打开此页的人都以本机操作员身份操作。",
    ),
    "person.demo_signed_in": ("Demo: signed in as the demo operator.", "演示：已以演示操作员身份登录。"),
    "act.not_yours": (
        "That is not yours to do, or you are logged out. Nothing was changed.",
        "您无权执行该操作，或已退出登录。没有任何更改。",
    ),
    "error.not_yours": ("There is nothing here for you.", "此处没有您的内容。"),
    "error.not_yours_why": (
        "This page is not part of what your account sees.",
        "本页不在您的账户可见范围内。",
    ),
}
