"""Kafka's own jars, resolved by Maven once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
MAVEN_TIMEOUT_S = 600


class BrokerError(Exception):
    """Why there is no broker, in a sentence that says what to do."""


def program(name: str, package: str) -> str:
    """Path of a program. Raises BrokerError naming the Debian package that has it."""
    found = shutil.which(name)
    if found is None:
        raise BrokerError(
            f"{name} is not installed; run tools/java.sh, or install it (Debian: apt-get install {package})"
        )
    return found


def jars() -> Path:
    """Folder with the broker's jars; the first call resolves them, later ones find them. Raises BrokerError."""
    text = POM.read_text()
    version = re.findall(r"<kafka\.version>(.+?)<", text)[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dipper"
    # The pom's digest is in the name: other dependencies are another folder.
    folder = cache / f"kafka-{version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".kafka-", dir=cache))
        try:
            resolve(fresh / "jars")
            publish(fresh / "jars", folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def resolve(folder: Path) -> None:
    """Have Maven copy the jars of the pom's runtime dependencies into a folder. Raises BrokerError."""
    maven = program("mvn", "maven")
    command = [maven, "-B", "-q", "-f", str(POM), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BrokerError(
            f"Maven did not resolve Kafka's jars within {MAVEN_TIMEOUT_S} s; is there a network?"
        ) from None
    if done.returncode or not any(folder.glob("kafka_*.jar")):
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise BrokerError(f"Maven could not resolve Kafka's jars:\n{tail}")


def publish(fresh: Path, folder: Path) -> None:
    """Rename into place; another process may have been first, then its folder serves."""
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
