"""Enrolment: a one-time token becomes the box's own key, kept in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from agent_exporter.config import DeviceKey, check_server, load_key
from agent_exporter.errors import AgentError, ConfigError
from agent_exporter.transport import Transport

ENROLL_PATH = "/v1/enroll"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TIMEOUT_S = 30.0


def enroll(server: str, device: str, token: str, key_file: Path, ca_file: str = "") -> DeviceKey:
    """Ask the server for a key and store it. Raises AgentError; an existing key file is then untouched."""
    check_server(server)
    parts = urlsplit(server)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"server: expected https, because the answer holds the key; got {server!r}")
    transport = Transport(server, ca_file, TIMEOUT_S)
    try:
        answer = transport.post(ENROLL_PATH, json.dumps({"device": device, "token": token}).encode(), dict)
    finally:
        transport.close()
    if answer.status != 201:
        raise AgentError(f"enroll: expected 201, got {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
    try:
        document = json.loads(answer.body)
        fields = {name: document[name] for name in ("device", "key_id", "key")}
    except (ValueError, KeyError, TypeError):
        raise AgentError('enroll: expected an answer {"device", "key_id", "key"}, got something else') from None
    if fields["device"] != device:
        raise AgentError(f"enroll: expected a key for {device!r}, got one for {str(fields['device'])[:64]!r}")
    new_file = key_file.with_name(key_file.name + ".new")
    try:
        _write_private(new_file, json.dumps(fields) + "\n")
        key = load_key(new_file)
        new_file.replace(key_file)
    except OSError as error:
        raise AgentError(f"{key_file}: cannot be written: {error.strerror}") from None
    finally:
        new_file.unlink(missing_ok=True)
    return key


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
