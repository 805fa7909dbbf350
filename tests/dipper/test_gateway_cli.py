"""How `dipper gateway` sets up its gateway."""

import contextlib

import pytest

from dipper import gateway_cli
from dipper.cli import main


class Made(Exception):
    """The gateway was about to be made with these settings."""


@pytest.mark.parametrize("policy", ["", "[gateway]\nflush_ms = 50\n"])
def test_a_gateway_of_a_cluster_learns_what_the_others_store(monkeypatch, tmp_path, policy):
    def make(log, registry, settings, clock):
        raise Made(settings)

    for name in ("opened_log", "opened_replica"):
        monkeypatch.setattr(gateway_cli, name, lambda *_: contextlib.nullcontext())
    for name in ("tune_gc", "tune_malloc"):
        monkeypatch.setattr(gateway_cli, name, lambda: None)
    monkeypatch.setattr(gateway_cli, "Gateway", make)
    (tmp_path / "policy.toml").write_text(policy)
    with pytest.raises(Made) as caught:
        main(["gateway", "--kafka", "127.0.0.1:9092", "--policy", str(tmp_path / "policy.toml")])
    (settings,) = caught.value.args
    assert settings.follow
    assert settings.flush_ms == (50 if policy else 100)
