"""The page that asks who somebody is, and the one for strangers: plain HTML without a script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote, urlencode

from dashboards import style
from dashboards.messages import LANGUAGES, Words

LOG_IN, LOG_OUT, SSO = "/account/login", "/account/logout", "/?sso=1"
OIDC_LOG_OUT = "/auth/logout"  # Streamlit's
_MARK = (
    '<svg viewBox="0 0 16 16" width="22" height="22" aria-hidden="true"><path fill="none" stroke="var(--accent)" '
    'stroke-width="1.6" d="M1 5h4l3 7 3-7h4"/></svg>'
)
_CSS = """
*{box-sizing:border-box}
html{color-scheme:light dark;background:var(--background);color:var(--text);font:14px/1.45 FONT}
body{margin:0;min-height:100vh;display:grid;
 grid-template-rows:minmax(7vh,1fr) auto minmax(9vh,1.6fr);justify-items:center}
main{grid-row:2;width:min(360px,calc(100vw - 48px))}
header{display:flex;align-items:center;gap:10px;font-weight:650;font-size:15px;margin-bottom:26px}
h1{font-size:22px;line-height:1.3;font-weight:600;letter-spacing:-.005em;margin:0 0 18px;text-wrap:balance}
p{margin:0 0 10px;color:var(--muted)}
label{display:block;font-size:12px;color:var(--muted);margin:0 0 14px}
input{display:block;width:100%;margin-top:4px;padding:9px 11px;font:inherit;font-size:14px;color:var(--text);
 background:var(--panel);border:1px solid var(--line);border-radius:4px}
input:focus-visible,button:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:1px}
button,a.button{display:block;width:100%;padding:9px 12px;font:inherit;font-weight:600;text-align:center;cursor:pointer;
 text-decoration:none;border-radius:4px;border:1px solid var(--accent);background:var(--accent);color:var(--background)}
a.button.second{background:transparent;color:var(--accent)}
.or{display:flex;align-items:center;gap:12px;margin:16px 0;color:var(--faint);font-size:12px}
.or::before,.or::after{content:"";flex:1;border-top:1px solid var(--line)}
.said{border-left:3px solid var(--amber);background:var(--panel);padding:9px 13px;margin:0 0 18px;color:var(--text)}
footer{margin-top:30px;font-size:12.5px;color:var(--faint)}
footer a{color:var(--muted);margin-right:14px;text-decoration:none}
footer a[aria-current]{color:var(--text)}
""".replace("FONT", style.FONT)


def log_in_page(
    words: Words, then: str, *, said: str = "", name: str = "", form: bool = True, sso: str | None = None
) -> bytes:
    """`then`: where to go afterwards; `said`: why the last attempt failed; `form`: whether there are local accounts;
    `sso`: what the identity provider is called, None without one."""
    w = words
    parts = [f"<h1>{escape(w('login.title'))}</h1>"]
    if said:
        parts.append(f'<p class="said" role="alert">{escape(said)}</p>')
    if form:
        parts.append(
            f'<form method="post" action="{LOG_IN}?{_query(words, then)}">'
            f'<label>{escape(w("login.name"))}<input name="name" autocomplete="username" autocapitalize="none" '
            f'spellcheck="false" required maxlength="128" value="{escape(name)}"{"" if name else " autofocus"}></label>'
            f'<label>{escape(w("login.password"))}<input name="password" type="password" maxlength="256" '
            f'autocomplete="current-password" required{" autofocus" if name else ""}></label>'
            f"<button>{escape(w('login.do'))}</button></form>"
        )
    if form and sso is not None:
        parts.append(f'<div class="or">{escape(w("login.or"))}</div>')
    if sso is not None:
        text = escape(w("login.sso", name=sso or w("login.provider")))
        parts.append(f'<a class="button{" second" if form else ""}" href="{SSO}">{text}</a>')
    if not form and sso is None:
        parts.append(f"<p>{escape(w('login.no_account'))}</p>")
    links = [
        f'<a href="{LOG_IN}?{_query(Words(code), then)}"{" aria-current=true" if code == w.language else ""}>'
        f"{escape(label)}</a>"
        for code, label in LANGUAGES.items()
    ]
    return _page(w, w("login.title"), parts, links)


def stranger_page(words: Words, name: str) -> bytes:
    """For somebody the provider knows and we do not."""
    w = words
    parts = [
        f"<h1>{escape(w('login.stranger'))}</h1>",
        f"<p>{escape(w('login.stranger_why', name=name or '–'))}</p>",
        f'<p style="margin-top:22px"><a class="button second" href="{OIDC_LOG_OUT}">{escape(w("login.other"))}</a></p>',
    ]
    return _page(w, w("login.stranger"), parts, [])


def _query(words: Words, then: str) -> str:
    given = {"lang": words.language, **({"then": then} if then != "/" else {})}
    return escape(urlencode(given, quote_via=quote))


def _page(words: Words, title: str, parts: Sequence[str], links: Sequence[str]) -> bytes:
    light, dark = _variables(style.LIGHT), _variables(style.DARK)
    foot = f"<footer>{''.join(links)}</footer>" if links else ""
    language = "zh-CN" if words.language == "zh" else "en"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{_CSS}</style></head>"
        f"<body><main><header>{_MARK}Dipper</header>{''.join(parts)}{foot}</main></body></html>"
    ).encode()


def _variables(palette: style.Palette) -> str:
    names = ("background", "panel", "text", "muted", "faint", "line", "accent", "amber")
    return "".join(f"--{name}:{getattr(palette, name)};" for name in names)
