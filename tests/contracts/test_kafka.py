import pytest

from contracts.errors import ContractError
from contracts.kafka import ENVIRONMENT, KafkaSettings, client_options, header_texts, kafka_settings


def test_no_brokers_named_means_no_kafka():
    assert kafka_settings({}) is None
    assert kafka_settings({"DIPPER_KAFKA": ""}) is None


def test_every_variable_reaches_its_field():
    values = {
        "DIPPER_KAFKA": "a:9092, b:9093",
        "DIPPER_KAFKA_SECURITY": "SASL_SSL",
        "DIPPER_KAFKA_MECHANISM": "PLAIN",
        "DIPPER_KAFKA_USER": "gateway",
        "DIPPER_KAFKA_PASSWORD": "s3cret",
        "DIPPER_KAFKA_CA": "ca.pem",
        "DIPPER_KAFKA_CERT": "cert.pem",
        "DIPPER_KAFKA_KEY": "key.pem",
    }
    assert set(values) == set(ENVIRONMENT)
    settings = kafka_settings(values)
    assert settings == KafkaSettings(
        ("a:9092", "b:9093"), "SASL_SSL", "PLAIN", "gateway", "s3cret", "ca.pem", "cert.pem", "key.pem"
    )
    assert settings.uses_sasl
    assert settings.uses_tls
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"DIPPER_KAFKA": "host"}, "DIPPER_KAFKA"),
        ({"DIPPER_KAFKA": ","}, "DIPPER_KAFKA"),
        ({"DIPPER_KAFKA": "h:0"}, "DIPPER_KAFKA"),
        ({"DIPPER_KAFKA": "h:1", "DIPPER_KAFKA_SECURITY": "TLS"}, "DIPPER_KAFKA_SECURITY"),
        ({"DIPPER_KAFKA": "h:1", "DIPPER_KAFKA_MECHANISM": "MD5"}, "DIPPER_KAFKA_MECHANISM"),
        ({"DIPPER_KAFKA": "h:1", "DIPPER_KAFKA_SECURITY": "SASL_SSL"}, "DIPPER_KAFKA_USER"),
        ({"DIPPER_KAFKA": "h:1", "DIPPER_KAFKA_CERT": "c"}, "DIPPER_KAFKA_CERT"),
    ],
)
def test_a_wrong_value_is_named(values, field):
    with pytest.raises(ContractError, match=field):
        kafka_settings(values)


def test_clients_get_names_and_secrets_only_where_brokers_ask():
    plain = client_options(KafkaSettings(("a:1", "b:2")))
    assert plain["bootstrap_servers"] == ["a:1", "b:2"]
    assert not [name for name in plain if name.startswith("sasl")]
    secured = client_options(KafkaSettings(("a:1",), "SASL_SSL", "PLAIN", "agent", "s3cret", ca="ca.pem"))
    assert secured["security_protocol"] == "SASL_SSL"
    assert secured["ssl_cafile"] == "ca.pem"
    assert (secured["sasl_mechanism"], secured["sasl_plain_username"]) == ("PLAIN", "agent")
    assert secured["sasl_plain_password"] == "s3cret"


def test_the_client_library_knows_every_option():
    import kafka

    secured = client_options(KafkaSettings(("a:1",), "SASL_SSL", "PLAIN", "agent", "s3cret"))
    assert set(secured) <= set(kafka.KafkaProducer.DEFAULT_CONFIG) & set(kafka.KafkaConsumer.DEFAULT_CONFIG)


@pytest.mark.parametrize("none", [None, (), []])
def test_a_record_without_headers_has_no_texts(none):
    assert header_texts(none) == {}


def test_headers_of_any_writer_are_texts():
    pairs = [
        ("kind", b"vitals"),
        ("n", "é".encode()),
        ("null", None),
        ("latin", b"caf\xe9"),
        ("", b""),
        ("kind", b"last"),
    ]
    texts = {"kind": "last", "n": "é", "null": "", "latin": "caf\ufffd", "": ""}
    assert header_texts(pairs) == texts
    assert header_texts(tuple(pairs)) == texts
