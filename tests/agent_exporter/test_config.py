"""The configuration file: complete, checked, and clear about what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agent_exporter import config
from agent_exporter.config import load, load_key
from agent_exporter.errors import ConfigError

EXAMPLE = Path(config.__file__).with_name("agent.example.toml")
MINIMAL = 'server = "https://g.example"\n[[log]]\nkind = "nginx"\npath = "/var/log/x.log"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def test_minimal_file_has_the_documented_defaults(tmp_path: Path) -> None:
    settings = load(written(tmp_path, MINIMAL))
    assert (settings.interval_s, settings.metrics_port, settings.spool_max_bytes) == (10, 0, 32 * 2**20)
    assert settings.logs[0].start_at == "beginning"


def test_example_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    # Uncommenting every setting must give a valid file that says what the defaults say.
    shown = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert load(written(tmp_path, shown)) == load(EXAMPLE)
    names = set(re.findall(r"^(?:# )?(\w+) =", text, re.MULTILINE))
    taken = set(re.findall(r'(?:take|number)\(\s*"(\w+)"', Path(config.__file__).read_text()))
    assert names == (taken | {"customer", "service", "app"}) - {"log", "spool", "sender"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("intervall_s = 10\n", "intervall_s: no such setting; did you mean interval_s?"),
        ("interval_s = 3\n", r"interval_s: expected one of \(1, 2, 5, 10\), got 3"),
        ('interval_s = "10"\n', "interval_s: expected int, got '10'"),
        ("metrics_port = 70000\n", "metrics_port: expected 0..65535, got 70000"),
        ('model = "@/no/such/file"\n', "model: /no/such/file cannot be read"),
        ('server = "ftp://x"\n', "server: expected https://host"),
        ("[spool]\nmax_bytes = 5\n", "spool.max_bytes: expected 2097152"),
        ("[spool]\nmax_byte = 5\n", "spool.max_byte: no such setting; did you mean max_bytes?"),
        ("[sender]\nspread = 1.5\n", "sender.spread: expected 0.0..1.0, got 1.5"),
        ("this is not toml", "expected TOML"),
    ],
)
def test_wrong_setting_is_named_with_what_was_expected(tmp_path: Path, change: str, message: str) -> None:
    text = MINIMAL.replace('server = "https://g.example"\n', "") if "server" in change else MINIMAL
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, change + text if "[" not in change else text + change))


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ('kind = "apache"\npath = "/x"', r"log\[0\].kind: expected one of nginx, tasks, got 'apache'"),
        ('kind = "nginx"\npath = "x"', r"log\[0\].path: expected an absolute path"),
        ('kind = "nginx"', r"log\[0\].path: required, and missing"),
        ('kind = "nginx"\npath = "/x"\nstart_at = "middle"', r"log\[0\].start_at: expected beginning or end"),
    ],
)
def test_wrong_log_is_named(tmp_path: Path, log: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(written(tmp_path, f'server = "http://h"\n[[log]]\n{log}\n'))


def test_file_without_logs_or_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="server: required"):
        load(written(tmp_path, ""))
    with pytest.raises(ConfigError, match="log: required"):
        load(written(tmp_path, 'server = "http://h"\n'))


def test_text_with_at_sign_is_read_from_the_file(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(b"Fog Box 3\0")
    assert load(written(tmp_path, f'model = "@{model}"\n{MINIMAL}')).model == "Fog Box 3"


def test_key_file_is_read_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(json.dumps({"device": "box-1", "key_id": "k1", "key": "ab" * 32}))
    key = load_key(path)
    assert (key.device, key.key_id, key.key) == ("box-1", "k1", b"\xab" * 32)
    for wrong in ({"key": "ab" * 31}, {"key": "zz" * 32}, {"device": "no spaces"}):
        path.write_text(json.dumps({"device": "box-1", "key_id": "k1", "key": "ab" * 32} | wrong))
        with pytest.raises(ConfigError) as caught:
            load_key(path)
        assert "abab" not in str(caught.value)


def test_missing_key_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dipper-agent enroll"):
        load_key(tmp_path / "none")
