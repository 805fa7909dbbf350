"""A broker as a careful operator runs it: TLS, SCRAM passwords, and ACLs without which nothing is allowed."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from contracts.kafka import KafkaSettings, client_options
from contracts.rights import Right
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from tests.services.kafka.broker import Broker, free_ports
from tests.services.kafka.jars import program

MECHANISMS = {"SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512, "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256}


class SecureBroker(Broker):
    """One node with two listeners. `settings`: plaintext, everything allowed, for whoever sets the stage.
    `secured(user)`: SASL_SSL, where a user that `grant` made may do what it was granted and nothing else. `ca`: the
    authority to trust."""

    def __init__(self, folder: Path, *, heap_mb: int = 384) -> None:
        super().__init__(folder, heap_mb=heap_mb, quick=True)
        self.ca = folder / "authority.pem"
        self._port = free_ports(1)[0]
        self._passwords: dict[str, str] = {}

    def secured(self, user: str) -> KafkaSettings:
        """How this user reaches it."""
        return KafkaSettings(
            (f"127.0.0.1:{self._port}",),
            security="SASL_SSL",
            user=user,
            password=self._passwords[user],
            ca=str(self.ca),
        )

    def environment_of(self, user: str) -> dict[str, str]:
        """The same as environment variables of a process."""
        settings = self.secured(user)
        assert settings.password is not None
        return {
            "DIPPER_KAFKA": ",".join(settings.brokers),
            "DIPPER_KAFKA_SECURITY": settings.security,
            "DIPPER_KAFKA_MECHANISM": settings.mechanism,
            "DIPPER_KAFKA_USER": user,
            "DIPPER_KAFKA_PASSWORD": settings.password,
            "DIPPER_KAFKA_CA": str(self.ca),
        }

    def grant(self, user: str, rights: Iterable[Right], *, mechanism: str = "SCRAM-SHA-512") -> KafkaSettings:
        """Make a user with a new password and these rights; how it reaches the broker."""
        self._passwords[user] = secrets.token_hex(12)
        admin = KafkaAdminClient(**client_options(self.settings), client_id="tests")
        try:
            admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(user, MECHANISMS[mechanism], self._passwords[user])]
            )
            if acls := [_acl(user, right) for right in rights]:
                admin.create_acls(acls)
        finally:
            admin.close()
        return replace(self.secured(user), mechanism=mechanism)

    def start(self, node: int | None = None) -> None:
        """As Broker; makes the authority first."""
        if not self.ca.exists():
            self._certify()
        super().start(node)

    def _certify(self) -> None:
        """A certificate of its own for 127.0.0.1, which is its own authority."""
        self.folder.mkdir(parents=True, exist_ok=True)
        key = self.folder / "key.pem"
        command = [program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, "-keyout", str(key), "-out", str(self.ca)], check=True, capture_output=True)
        # Kafka reads PEM keys in PKCS #8 with the certificate in one file.
        (self.folder / "keystore.pem").write_text(key.read_text() + self.ca.read_text())

    def _configuration(self, node: int) -> dict[str, str]:
        plain = super()._configuration(node)
        secured = f"SECURED://127.0.0.1:{self._port}"
        return {
            **plain,
            "listeners": f"{plain['listeners']},{secured}",
            "advertised.listeners": f"{plain['advertised.listeners']},{secured}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SECURED:SASL_SSL",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            **{
                f"listener.name.secured.{name.lower()}.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                )
                for name in MECHANISMS
            },
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.folder / "keystore.pem"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",  # the plaintext listener's, and the broker's own
        }


def _acl(user: str, right: Right) -> ACL:
    kind = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional-id": ResourceType.TRANSACTIONAL_ID}
    return ACL(
        principal=f"User:{user}",
        host="*",
        operation={"Read": ACLOperation.READ, "Write": ACLOperation.WRITE}[right.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(kind[right.resource], right.name),
    )
