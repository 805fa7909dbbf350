import dataclasses
import tomllib

import pytest

from dipper import settings
from dipper.engine import RETENTION_HOURS
from dipper.parts import WatchSettings
from dipper.seat import Seat
from dipper.settings import Listener, SettingsError, from_environment, load_policy
from feed.app import FeedSettings
from history.chdb_store import ChdbStore
from history.maintenance import Retention
from history.sink import SinkSettings
from ingest.gateway import GatewaySettings
from ingest.log.embedded import EmbeddedLog
from ingest.log.kafka import KafkaLog
from ingest.log.kafka_topics import TopicPlan
from streams.health_settings import HealthJobSettings
from streams.settings import QualitySettings, WorkerSettings


def defaults_of(kind):
    """Default of every field or keyword of a class."""
    if dataclasses.is_dataclass(kind):
        return {f.name: f.default for f in dataclasses.fields(kind)}
    return kind.__init__.__kwdefaults__


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("log", EmbeddedLog),
        ("gateway", GatewaySettings),
        ("quality", QualitySettings),
        ("health", HealthJobSettings),
        ("feed", FeedSettings),
        ("sink", SinkSettings),
        ("history", ChdbStore),
        ("retention", Retention),
        ("topics", TopicPlan),
        ("kafka", KafkaLog),
        ("group", Seat),
        ("worker", WorkerSettings),
        ("watch", WatchSettings),
    ],
)
def test_the_policy_file_states_the_defaults_of_the_code(table, kind):
    stated = {k: v for k, v in load_policy()[table].items() if k != RETENTION_HOURS}
    assert stated
    assert stated == {name: defaults_of(kind)[name] for name in stated}


def test_every_policy_number_has_its_reason():
    numbers = [line for line in settings.POLICY.read_text().splitlines() if " = " in line and line[0] != "#"]
    assert len(numbers) > 20
    assert [line for line in numbers if "# " not in line] == []


def test_a_policy_file_states_only_what_differs(tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text("[gateway]\nrequests_per_s = 9\n")
    policy = load_policy(file)
    assert policy["gateway"]["requests_per_s"] == 9
    assert policy["gateway"]["flush_ms"] == tomllib.loads(settings.POLICY.read_text())["gateway"]["flush_ms"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[gatway]\n", "[gatway]: expected one of the tables"),
        ("[gateway]\nrequest_per_s = 1.0\n", "gateway.request_per_s: expected one of"),
        ("[gateway]\nflush_ms = 'soon'\n", "gateway.flush_ms: expected a int, got 'soon'"),
        ("[gateway\n", "expected a readable TOML file"),
        ("gateway = 3\n", "[gateway]: expected one of the tables"),
    ],
)
def test_a_wrong_policy_file_is_refused_with_the_place(tmp_path, text, sentence):
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_policy(file)
    assert sentence in str(refused.value)
    assert str(file) in str(refused.value)


def test_the_command_line_wins_over_the_environment():
    found = from_environment({"DIPPER_PORT": "1", "DIPPER_HOST": "127.0.0.2"}, port="2", host=None)
    assert found.local == Listener("127.0.0.2", 2)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DIPPER_PORT": "http"}, "DIPPER_PORT: expected a port 0..65535, got 'http'"),
        ({"DIPPER_PORT": "65536"}, "DIPPER_PORT: expected a port 0..65535, got '65536'"),
        ({"DIPPER_PUBLIC": "8443"}, "DIPPER_PUBLIC: expected HOST:PORT, got '8443'"),
        ({"DIPPER_TLS_KEY": "key.pem"}, "DIPPER_TLS_CERT, DIPPER_TLS_KEY: expected both or neither, got one"),
    ],
)
def test_wrong_environment_is_named(environment, sentence):
    with pytest.raises(SettingsError) as refused:
        from_environment(environment)
    assert str(refused.value) == sentence


def test_public_listeners_may_be_ipv6():
    assert from_environment({"DIPPER_PUBLIC": "[::]:8443"}).public == Listener("::", 8443)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DIPPER_KAFKA": "somewhere"}, "DIPPER_KAFKA: expected HOST:PORT,.., got 'somewhere'"),
        ({"DIPPER_KAFKA": "h:1", "DIPPER_KAFKA_SECURITY": "TLS"}, "DIPPER_KAFKA_SECURITY: expected one of"),
    ],
)
def test_wrong_settings_of_kafka_are_named(environment, sentence):
    with pytest.raises(SettingsError) as refused:
        from_environment(environment)
    assert sentence in str(refused.value)


def test_brokers_on_the_command_line_win_and_passwords_are_not_shown():
    environment = {
        "DIPPER_KAFKA": "h:1",
        "DIPPER_KAFKA_SECURITY": "SASL_SSL",
        "DIPPER_KAFKA_USER": "u",
        "DIPPER_KAFKA_PASSWORD": "hush1",
        "DIPPER_STORE": "clickhouse://u:hush2@h/d",
    }
    found = from_environment(environment, kafka="k1:9092,k2:9092")
    assert found.needs_kafka().brokers == ("k1:9092", "k2:9092")
    assert found.needs_kafka().password == "hush1"
    assert found.needs_store() == "clickhouse://u:hush2@h/d"
    assert "hush" not in repr(found)


def test_a_process_that_needs_a_cluster_says_what_is_missing():
    alone = from_environment({})
    with pytest.raises(SettingsError, match="DIPPER_KAFKA: expected the brokers"):
        alone.needs_kafka()
    with pytest.raises(SettingsError, match="DIPPER_STORE: expected clickhouse://"):
        alone.needs_store()
