"""How to reach Kafka: the settings that gateways, workers, sinks and trusted nodes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contracts.errors import ContractError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

# Environment variable -> what it holds; the same names in every process and in the agent.
ENVIRONMENT: dict[str, str] = {
    "DIPPER_KAFKA": "brokers of the log, HOST:PORT,.. (default: none, the embedded log)",
    "DIPPER_KAFKA_SECURITY": f"{', '.join(PROTOCOLS)} (default: PLAINTEXT)",
    "DIPPER_KAFKA_MECHANISM": f"{', '.join(MECHANISMS)}, for SASL (default: SCRAM-SHA-512)",
    "DIPPER_KAFKA_USER": "name, for SASL",
    "DIPPER_KAFKA_PASSWORD": "its password",
    "DIPPER_KAFKA_CA": "file with certificates to trust (default: the system's)",
    "DIPPER_KAFKA_CERT": "client certificate file, for mutual TLS",
    "DIPPER_KAFKA_KEY": "its private key file",
}


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where brokers are and how to speak to them. `brokers`: HOST:PORT. Raises ContractError `bad_setting` naming the
    environment variable; a password never appears in a message or a repr."""

    brokers: tuple[str, ...]
    security: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if not self.brokers:
            raise ContractError("bad_setting", "DIPPER_KAFKA", "at least one HOST:PORT", "nothing")
        for broker in self.brokers:
            host, colon, port = broker.rpartition(":")
            if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ContractError("bad_setting", "DIPPER_KAFKA", "HOST:PORT,..", broker)
        if self.security not in PROTOCOLS:
            raise ContractError("bad_setting", "DIPPER_KAFKA_SECURITY", f"one of {PROTOCOLS}", self.security)
        if self.mechanism not in MECHANISMS:
            raise ContractError("bad_setting", "DIPPER_KAFKA_MECHANISM", f"one of {MECHANISMS}", self.mechanism)
        if self.uses_sasl and not (self.user and self.password):
            raise ContractError("bad_setting", "DIPPER_KAFKA_USER", "a name and a password with SASL", "none")
        if (self.cert is None) != (self.key is None):
            raise ContractError("bad_setting", "DIPPER_KAFKA_CERT", "certificate and key, or neither", "one of them")

    @property
    def uses_sasl(self) -> bool:
        """Whether brokers ask for a name and a password."""
        return self.security.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security.endswith("SSL")


def kafka_settings(environment: Mapping[str, str]) -> KafkaSettings | None:
    """Settings from environment variables; None without DIPPER_KAFKA. Raises ContractError."""

    def pick(name: str) -> str | None:
        return environment.get(f"DIPPER_KAFKA{name}") or None

    brokers = pick("")
    if brokers is None:
        return None
    return KafkaSettings(
        brokers=tuple(part.strip() for part in brokers.split(",") if part.strip()),
        security=pick("_SECURITY") or "PLAINTEXT",
        mechanism=pick("_MECHANISM") or "SCRAM-SHA-512",
        user=pick("_USER"),
        password=pick("_PASSWORD"),
        ca=pick("_CA"),
        cert=pick("_CERT"),
        key=pick("_KEY"),
    )


def header_texts(pairs: Iterable[tuple[str, bytes | None]] | None) -> dict[str, str]:
    """Headers of a record as texts, whoever wrote it: null is the empty text, what is no UTF-8 is replaced, of a name
    that comes twice the last counts."""
    return {name: "" if value is None else value.decode("utf-8", "replace") for name, value in pairs or ()}


def client_options(settings: KafkaSettings) -> dict[str, object]:
    """The same as keyword arguments of kafka-python's clients. Holds the password: never log it."""
    options: dict[str, object] = {
        "bootstrap_servers": list(settings.brokers),
        "security_protocol": settings.security,
        "ssl_cafile": settings.ca,
        "ssl_certfile": settings.cert,
        "ssl_keyfile": settings.key,
    }
    if settings.uses_sasl:
        options["sasl_mechanism"] = settings.mechanism
        options["sasl_plain_username"] = settings.user
        options["sasl_plain_password"] = settings.password
    return options
